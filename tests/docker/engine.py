"""Run a command with a Docker Engine: the one that answers, else a private one that ends with the command.

The private engine is Debian's docker.io, installed by apt where it is missing and root asks. It has no bridge, touches
no iptables and listens on a socket of its own. Its data stay in build/engine, so that a second run is quicker.

The command gets ENGINE (the client's path), DOCKER_HOST and BASE_IMAGE. Where no registry can be reached BASE_IMAGE is
a stand-in: Debian's Python 3.11 from the machine's own apt sources, with the machine's CA bundle. It shows that the
Dockerfiles, locks, permissions and programs work; it does not show that the published base image does.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "build" / "engine"
STAND_IN = "python:3.11-slim-bookworm"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def main() -> int:
    """Run the command of the command line; returns its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that a private engine ends too
    with engine() as host:
        os.environ |= {"ENGINE": client(), "DOCKER_HOST": host}
        os.environ["BASE_IMAGE"] = base_image()
        started = time.monotonic()
        code = subprocess.run(sys.argv[1:], check=False).returncode
        print(f"engine: the command took {time.monotonic() - started:.0f} s", flush=True)
    return code


def client() -> str:
    """The engine's own client: another one, first on PATH, may lack BuildKit."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else str(shutil.which("docker"))


def answers(host: str) -> bool:
    """Whether an engine answers at an address."""
    command = [client(), "--host", host, "version"]
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def install(program: str, package: str, otherwise: str) -> None:
    """Have a program, by apt if need be; where that cannot be, ends with what would help."""
    if shutil.which(program) is not None:
        return
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(
            f"engine: {program} is missing, and only root on Debian or Ubuntu can have it installed here: {otherwise}"
        )
    with timed(f"install {package}"), services_stay_down():
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "--quiet=2"], check=True)
        apt = ["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends", package]
        subprocess.run(apt, check=True, env=environment, stdout=subprocess.DEVNULL)


@contextmanager
def services_stay_down() -> Iterator[None]:
    """The engine's package would start it as the machine's service; Debian asks this file first."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


@contextmanager
def engine() -> Iterator[str]:
    """The address of an engine: of one that runs already, else of a private one."""
    running = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if answers(running):
        yield running
        return
    advice = f"no Docker Engine answers at {running}: start one, or say where it is by DOCKER_HOST"
    if os.getuid() != 0:
        sys.exit(f"engine: only root can start a private one, and {advice}")
    install("dockerd", "docker.io", advice)
    DATA.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="engine-"))  # private, and short: a socket's path has at most 108 characters
    host, log = f"unix://{folder}/docker.sock", DATA / "dockerd.log"
    command = ["dockerd", f"--host={host}", f"--data-root={DATA / 'data'}", f"--exec-root={folder / 'exec'}"]
    command += [f"--pidfile={folder / 'pid'}", "--bridge=none", "--iptables=false", "--ip6tables=false"]
    with log.open("w") as output:
        daemon = subprocess.Popen(
            [*command, "--ip-forward=false", "--ip-masq=false"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is the command's; the engine ends after it
        )
    try:
        deadline = time.monotonic() + 60
        while not answers(host):
            if daemon.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"engine: dockerd does not start; the end of {log}:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield host
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)
        subprocess.run(["umount", "--quiet", f"{folder}/exec/netns/default"], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


def base_image() -> str:
    """The Dockerfiles' base image, if it can be had; else the stand-in, made where it is missing."""
    if given := os.environ.get("BASE_IMAGE"):
        return given
    published = re.search(r"^ARG BASE_IMAGE=(\S+)", (ROOT / "images/light/Dockerfile").read_text(), re.MULTILINE)
    assert published is not None
    docker = client()
    for command in (["image", "inspect"], ["pull"]):
        if subprocess.run([docker, *command, published[1]], capture_output=True, check=False).returncode == 0:
            return published[1]
    print(f"engine: {published[1]} cannot be pulled; {STAND_IN} is a stand-in", flush=True)
    if subprocess.run([docker, "image", "inspect", STAND_IN], capture_output=True, check=False).returncode:
        with timed("make the stand-in"):
            make_stand_in(docker)
    return STAND_IN


def make_stand_in(docker: str) -> None:
    """Debian's Python as the published image lays it out: `python` and `pip` in /usr/local/bin."""
    install("mmdebstrap", "mmdebstrap", "give BASE_IMAGE, an image that this engine has")
    DATA.mkdir(parents=True, exist_ok=True)
    sources = [*Path("/etc/apt/sources.list.d").glob("debian.sources"), Path("/etc/apt/sources.list")]
    hooks = [
        'chroot "$1" python3 -m venv /usr/local',
        'find "$1/usr" -xdev -name __pycache__ -prune -exec rm -rf {} +',
        f"copy-in {CA_BUNDLE} {CA_BUNDLE.parent}",
        f'printf "[global]\\ncert = {CA_BUNDLE}\\n" > "$1/etc/pip.conf"',
    ]
    kept_out = [f"path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "doc")]
    with tempfile.TemporaryDirectory(dir=DATA) as folder:
        tar = Path(folder) / "base.tar"
        command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--quiet"]
        command += ["--include=ca-certificates,netbase,python3,python3-venv,tzdata"]
        command += [f"--dpkgopt={each}" for each in (*kept_out, "path-include=/usr/share/doc/*/copyright")]
        command += [f"--customize-hook={hook}" for hook in hooks]
        here = next(path for path in sources if path.is_file())
        subprocess.run([*command, "bookworm", tar, here], check=True, env=os.environ | {"TMPDIR": folder})
        changes = ["ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LANG=C.UTF-8"]
        changes += ['CMD ["python3"]', 'LABEL stand-in="Debian\'s Python, not the published image"']
        options = [f"--change={change}" for change in changes]
        subprocess.run([docker, "import", *options, tar, STAND_IN], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long something took."""
    started = time.monotonic()
    yield
    print(f"engine: {what}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
