"""Build the images, test each inside itself, write their lock and their SBOMs. `make images` calls it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
IMAGES = ("light", "trainer", "scorer")
PORT = 8976  # fixed if it is free, because another address gives another image layer


class Arguments(argparse.Namespace):
    """Values of the flags."""

    images: Sequence[str]
    engine: str
    registry: str
    tag: str
    base_image: str
    push: bool
    lock: Path
    sbom: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the flags say; the first command that fails ends it."""
    args = parser().parse_args(argv, Arguments())
    tag = args.tag or version()
    references = {
        image: f"{args.registry and args.registry + '/'}reward-finetuning-{image}:{tag}" for image in args.images
    }
    if not args.sbom:
        with find_links() as wheels:
            for image, reference in references.items():
                build(args, image, reference, wheels)
        if args.push:
            references = {image: push(args.engine, reference) for image, reference in references.items()}
        write_lock(args.lock, references)
    for image, reference in references.items():
        write_sbom(args.engine, reference, ROOT / "build" / f"sbom-{image}.json")


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("images", nargs="*", default=IMAGES, help=f"which; all: {' '.join(IMAGES)}")
    flags.add_argument("--engine", default="docker", help="the engine's command, e.g. docker or podman")
    flags.add_argument("--registry", default="", help="put before the names, e.g. europe-docker.pkg.dev/PROJECT/rft")
    flags.add_argument("--tag", default="", help="the package's version, if not given")
    flags.add_argument("--base-image", default="", help="in the place of the Dockerfiles' BASE_IMAGE")
    flags.add_argument("--push", action="store_true", help="push them; the lock then has digests")
    flags.add_argument("--lock", type=Path, default=ROOT / "images" / "images.lock", help="where references go")
    flags.add_argument("--sbom", action="store_true", help="only the SBOMs, of images that are built")
    return flags


def build(args: Arguments, image: str, reference: str, wheels: str) -> None:
    """Build the stage `test`, which runs the smoke test, then the image; they share all but the last layers."""
    started = time.monotonic()
    values = {
        "BASE_IMAGE": args.base_image,
        "PIP_EXTRA_INDEX_URL": os.environ.get("PIP_EXTRA_INDEX_URL", ""),
        "PIP_FIND_LINKS": wheels,
        "REVISION": revision(),
        "SOURCE": output("git", "config", "--get", "remote.origin.url"),
        "TORCH_BUILD": torch_build(),
        "VERSION": version(),
    }
    build_args = [f"--build-arg={name}={value}" for name, value in values.items() if value]
    # The build uses the network of the host, because an index of wheels may be on loopback.
    command = [args.engine, "build", "--network=host", f"--file=images/{image}/Dockerfile", *build_args]
    environment = os.environ | {"DOCKER_BUILDKIT": "1"}
    for target in ("test", "final"):
        tag = reference if target == "final" else f"{reference}-test"
        subprocess.run([*command, f"--target={target}", f"--tag={tag}", "."], cwd=ROOT, env=environment, check=True)
    subprocess.run([args.engine, "image", "rm", f"{reference}-test"], check=True, stdout=subprocess.DEVNULL)
    size = int(output(args.engine, "image", "inspect", "--format={{.Size}}", reference))
    print(f"{reference}: {size / 1e6:.0f} MB, {time.monotonic() - started:.0f} s", flush=True)


def push(engine: str, reference: str) -> str:
    """Push an image; returns its reference by digest."""
    subprocess.run([engine, "push", reference], check=True)
    name = reference.rpartition(":")[0]
    digests: list[str] = json.loads(output(engine, "image", "inspect", "--format={{json .RepoDigests}}", reference))
    return next(digest for digest in digests if digest.startswith(f"{name}@"))


def write_lock(path: Path, references: Mapping[str, str]) -> None:
    """Image -> reference, which pipelines/targets/images.py reads; images that were not built now keep theirs."""
    entries: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    entries |= references
    path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{path}: {', '.join(references.values())}")


def write_sbom(engine: str, reference: str, path: Path) -> None:
    """CycloneDX of the image's Python packages, as they are installed in it, with their licences."""
    packages = "cd /opt/venv/lib/python3*/site-packages && tar -cf - *.dist-info/METADATA"
    run = [engine, "run", "--rm", "--network=none", reference, "sh", "-c", packages]
    metadata = subprocess.run(run, check=True, capture_output=True).stdout
    path.parent.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        # An environment that contains only the package metadata of the image, which cyclonedx reads.
        venv.create(folder, with_pip=False)
        (site,) = Path(folder).glob("lib/python3*/site-packages")
        with tarfile.open(fileobj=BytesIO(metadata)) as archive:
            archive.extractall(site, filter="data")
        command = [
            sys.executable,
            "-m",
            "cyclonedx_py",
            "environment",
            "--no-validate",
            "--mc-type=application",
            f"--pyproject={ROOT / 'pyproject.toml'}",
            f"--output-file={path}",
            folder,
        ]
        subprocess.run(command, check=True)
    print(f"{path}: {len(json.loads(path.read_text(encoding='utf-8'))['components'])} packages")


@contextmanager
def find_links() -> Iterator[str]:
    """Where pip here finds more wheels (torch's CPU build, say), as an address that the builder can reach."""
    configured, folder = wheel_source()
    if folder is None:
        yield configured
        return
    handler = partial(_QuietHandler, directory=str(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", PORT), handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def wheel_source() -> tuple[str, Path | None]:
    """pip's setting find-links, and its folder if it is one on this machine."""
    configured = os.environ.get("PIP_FIND_LINKS") or output(
        sys.executable, "-m", "pip", "config", "get", "global.find-links"
    )
    folder = Path(configured.removeprefix("file://"))
    return configured, folder if configured and folder.is_dir() else None


def torch_build() -> str:
    """Which images/torch-*.lock is installed: `cpu` if pip is pointed to PyTorch's CPU build, else `cuda`."""
    _, folder = wheel_source()
    is_local = folder is not None and any(folder.glob("torch-*+cpu-*.whl"))
    is_index = os.environ.get("PIP_EXTRA_INDEX_URL", "").rstrip("/").endswith("/whl/cpu")
    return "cpu" if is_local or is_index else "cuda"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


def version() -> str:
    """The package's version."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def revision() -> str:
    """The commit that is built, `-dirty` where files (the lock apart) differ from it; empty outside a checkout."""
    commit = output("git", "rev-parse", "HEAD")
    changed = output("git", "status", "--porcelain", ".", ":!images/images.lock")
    return f"{commit}-dirty" if commit and changed else commit


def output(*command: str) -> str:
    """What a command prints; nothing where it fails."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
