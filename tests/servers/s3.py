"""S3 on loopback: moto's server behind a layer that does one request at a time, checks digests and makes faults.

moto keeps `If-None-Match: *` and `If-Match` of PutObject, and `If-None-Match: *` of CompleteMultipartUpload. But it
looks and writes in two steps without a lock, and takes damaged data, whatever digest came with it: the layer adds both.
moto's objects are those of the process, so a second server empties the first.

In a test: `with S3Server() as server:`, and the variables of `server.environment`. By hand:

    PYTHONPATH=tests python -m servers.s3 9000
"""

from __future__ import annotations

import base64
import hashlib
import sys
import time
import urllib.parse
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from servers.buckets import BucketHandler, BucketServer, Response
from werkzeug.test import EnvironBuilder, run_wsgi_app

CODES = {403: "AccessDenied", 404: "NoSuchKey", 429: "TooManyRequests", 501: "NotImplemented", 503: "SlowDown"}
KINDS = {"PUT": "upload", "GET": "read", "HEAD": "metadata", "DELETE": "delete"}
HOP_BY_HOP = {"connection", "date", "server", "transfer-encoding"}


class Handler(BucketHandler):
    server: S3Server

    def serve(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        _, _, key = urllib.parse.unquote(url.path).lstrip("/").partition("/")
        body = self.body()
        kind = self.kind(query, key)
        if not self.handle_request(kind, key or query.get("prefix", "")):
            return
        if self.server.refuse_with and self.server.refusals:
            self.server.refusals -= 1
            self.send(error(*self.server.refuse_with))
            return
        if self.server.in_two_steps and kind == "upload" and {"If-Match", "If-None-Match"} & set(self.headers):
            self.send(self.response_in_two_steps(key, body))
            return
        with self.server.lock:
            response = self.response(kind, body)
        self.send(response)

    def kind(self, query: dict[str, str], key: str) -> str:
        """Kind of a request, as Fault names it."""
        if not key:
            return "uploads" if "uploads" in query else "list"
        if "uploadId" in query:
            return {"PUT": "chunk", "POST": "complete", "DELETE": "abort"}[self.command]
        return "upload" if "uploads" in query else KINDS[self.command]

    def response(self, kind: str, body: bytes) -> Response:
        """Do what the request asks for."""
        if self.command == "PUT":
            body = self.damaged(body)
            if not self.is_whole(body):
                return error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
        ignored = {name.lower() for name in self.server.ignored_headers}
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in ignored]
        pages = f"&max-keys={self.server.page_size}" if self.server.page_size and kind == "list" else ""
        environ = EnvironBuilder(path=self.path + pages, method=self.command, headers=headers, data=body).get_environ()
        blocks, status, answer = run_wsgi_app(self.server.app, environ, buffered=True)
        sent = {name: value for name, value in answer.items() if name.lower() not in HOP_BY_HOP}
        data = b"".join(blocks)
        return Response(self.damaged(data) if kind == "read" else data, int(status.split()[0]), sent)

    def response_in_two_steps(self, key: str, body: bytes) -> Response:
        """Check the condition, give others time to do the same, and write."""
        there = self.server.objects.get_object("bucket", key)
        expected = self.headers.get("If-Match")
        if (there is not None and expected is None) or (expected and (there is None or there.etag != expected)):
            return error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        time.sleep(0.3)
        with self.server.lock:
            del self.headers["If-None-Match"], self.headers["If-Match"]
            return self.response("upload", body)

    def is_whole(self, body: bytes) -> bool:
        """Whether a body is what the digests of its request say."""
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        sha256 = hashlib.sha256(body).hexdigest()
        return self.headers.get("Content-MD5", md5) == md5 and self.headers["X-Amz-Content-SHA256"] == sha256

    def refuse(self, status: int, message: str) -> None:
        """See BucketHandler."""
        self.send(error(status, CODES.get(status, "InternalError"), message))


def error(status: int, code: str, message: str) -> Response:
    """An error as S3 sends it."""
    document = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(document.encode(), status, {"Content-Type": "application/xml"})


class S3Server(BucketServer):
    """The server; see BucketServer."""

    scheme = "s3"

    def __init__(self, port: int = 0) -> None:
        super().__init__(Handler, port)
        self.app = DomainDispatcherApplication(create_backend_app)
        self.refuse_with: tuple[int, str, str] | None = None
        """Status, code and message of every answer, as far as `refusals` go."""

        self.refusals = 10**6
        self.ignored_headers: set[str] = set()
        """Of requests, as a store that does not know them does: If-Match, If-None-Match, X-Amz-Meta-Writing."""

        s3_backends.reset()
        self.in_two_steps = False
        """Whether conditions are checked first and the object is written then, as some stores do."""

        self.objects = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self.objects.create_bucket("bucket", "us-east-1")

    @property
    def environment(self) -> dict[str, str]:
        """See BucketServer."""
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_REGION": "us-east-1"}
        return {"AWS_ENDPOINT_URL_S3": self.url, **keys}

    @property
    def bucket(self) -> Any:
        """moto's bucket."""
        return self.objects.get_bucket("bucket")

    def names(self) -> list[str]:
        """See BucketServer."""
        return sorted(self.bucket.keys)

    def data(self, name: str) -> bytes:
        """See BucketServer."""
        return bytes(self.objects.get_object("bucket", name).value)

    def generation(self, name: str) -> int | str:
        """See BucketServer."""
        return str(self.objects.get_object("bucket", name).etag).strip('"')

    def put(self, name: str, data: bytes) -> None:
        """See BucketServer."""
        with self.lock:
            self.objects.put_object("bucket", name, data)

    def remove(self, name: str) -> None:
        """See BucketServer."""
        with self.lock:
            self.objects.delete_object("bucket", name)

    def unfinished(self) -> list[str]:
        """Names of the objects that have unfinished uploads."""
        return sorted(upload.key_name for upload in self.bucket.multiparts.values())


if __name__ == "__main__":
    server = S3Server(port=int(sys.argv[1]))
    for variable, value in server.environment.items():
        print(f"export {variable}={value}", flush=True)
    print("# the bucket is s3://bucket", flush=True)
    server.serve_forever()
