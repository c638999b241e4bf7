import threading

import pytest


@pytest.fixture(scope="session")
def google_key(tmp_path_factory):
    """A key file for Application Default Credentials."""
    from tests.servers.services import write_google_key

    return write_google_key(tmp_path_factory.mktemp("google") / "key.json")


@pytest.fixture(params=["kfp", "vertex"])
def service(request, work, tmp_path, monkeypatch, google_key):
    """Each service on loopback, its jobs done by `work`."""
    from tests.servers.services import loopback

    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key))
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    server, settings = loopback(request.param, work, tmp_path)
    with server:
        yield settings()


class Work:
    """What jobs do, one after the other: each function returns an error text, or nothing; beyond them, nothing."""

    def __init__(self):
        self.plan = []
        self.jobs = []
        self.released = threading.Event()

    def __call__(self, job):
        self.jobs.append(job)
        step = self.plan.pop(0) if self.plan else None
        return (step() if step else None) or ""

    def wait(self):
        """A step that ends when the test says so."""
        self.released.wait(60)


@pytest.fixture
def work():
    work = Work()
    yield work
    work.released.set()
