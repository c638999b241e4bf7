"""A Hugging Face hub on loopback with datasets: the part of its HTTP API that `datasets` and `huggingface_hub` use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha1
from http.server import BaseHTTPRequestHandler
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from servers.loopback import LoopbackServer

Files = dict[str, bytes]
"""Path in the repository -> content."""


class HubServer(LoopbackServer):
    """Serves http://127.0.0.1:PORT; `gated` and `down` name repositories that answer 403 and 503.

    commits: repository -> commit -> files; the newest commit is the last one, and `main` leads to it.
    requests: method and path of each request.
    """

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.commits: dict[str, dict[str, Files]] = {}
        self.gated: set[str] = set()
        self.down: set[str] = set()
        self.requests: list[str] = []

    def commit(self, repository: str, files: Mapping[str, bytes]) -> str:
        """Add a commit with these files; returns its id."""
        commits = self.commits.setdefault(repository, {})
        name = sha1(f"{repository} {len(commits)}".encode(), usedforsecurity=False).hexdigest()
        commits[name] = dict(files)
        return name


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        api = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path)
        resolve = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = api or resolve
        if match is None:
            return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        repository, revision = match[1], match[3] if api else match[2]
        if self._is_refused(repository):
            return None
        commits = self.server.commits[repository]
        commit = list(commits)[-1] if revision in {None, "main"} else revision
        if commit not in commits:
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if resolve:
            return self._file(commits[commit].get(resolve[3]), commit)
        return self._api(match, commit, commits[commit])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def _is_refused(self, repository: str) -> bool:
        if repository in self.server.gated:
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif repository in self.server.down:
            self._answer(503, b"busy", {})
        elif repository not in self.server.commits:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        else:
            return False
        return True

    def _api(self, match: re.Match[str], commit: str, files: Files) -> None:
        if match[2] == "tree":
            folder = match[4] or ""
            names = [name for name in files if not folder or name.startswith(f"{folder}/")]
            return self._json(_entries(files, names))
        if match[2] == "paths-info":
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            paths = json.loads(body)["paths"] if body.startswith(b"{") else []
            return self._json(_entries(files, [path for path in paths if path in files]))
        siblings = [{"rfilename": name} for name in files]
        return self._json({"_id": commit[:24], "id": match[1], "sha": commit, "siblings": siblings, "tags": []})

    def _file(self, content: bytes | None, commit: str) -> None:
        if content is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._answer(200, content, headers)
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._answer(206, content[first : last + 1], headers)

    def _json(self, answer: Any) -> None:
        self._answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        return


def _entries(files: Files, names: list[str]) -> list[dict[str, Any]]:
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents if str(parent) != "."}
    listed = [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in sorted(folders)]
    return listed + [
        {"type": "file", "path": name, "size": len(files[name]), "oid": _oid(files[name])} for name in names
    ]


def _oid(content: bytes) -> str:
    return sha1(content, usedforsecurity=False).hexdigest()
