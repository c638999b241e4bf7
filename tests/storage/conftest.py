import pytest

from reward_finetuning.storage import open_store
from reward_finetuning.storage.gcs import client as gcs_client


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    """A store of each kind: they keep the same contract."""
    if request.param == "folder":
        return open_store(str(tmp_path / "run"))
    request.getfixturevalue("gcs")
    return open_store("gs://bucket/runs/tiny")


@pytest.fixture
def alter(request, store, tmp_path):
    """Write over an object or a file of the store, as only someone else would."""

    def overwrite(name, text):
        if store.uri.startswith("gs://"):
            request.getfixturevalue("gcs").put(f"runs/tiny/{name}", text.encode())
        else:
            (tmp_path / "run" / name).write_text(text)

    return overwrite


@pytest.fixture
def patience(monkeypatch):
    """Sets how long a bucket may keep us waiting; pauses are short, whatever is set."""

    def be(request_seconds=60.0, total_seconds=300.0):
        patience = gcs_client.Patience(request_seconds, total_seconds, first_pause_seconds=0.02)
        monkeypatch.setattr(gcs_client, "PATIENCE", patience)

    be()
    return be
