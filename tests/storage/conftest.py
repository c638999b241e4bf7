import pytest

from reward_finetuning.storage import open_store
from reward_finetuning.storage.buckets import patience as bucket_patience


@pytest.fixture(params=["folder", "gs", "s3"])
def store(request, tmp_path):
    """A store of each kind: they keep the same contract."""
    if request.param == "folder":
        return open_store(str(tmp_path / "run"))
    return open_store(f"{request.getfixturevalue(request.param).uri}/runs/tiny")


@pytest.fixture
def alter(request, store, tmp_path):
    """Write over an object or a file of the store, as only someone else would."""

    def overwrite(name, text):
        scheme, separator, _ = store.uri.partition("://")
        if separator:
            request.getfixturevalue(scheme).put(f"runs/tiny/{name}", text.encode())
        else:
            (tmp_path / "run" / name).write_text(text)

    return overwrite


@pytest.fixture
def patience(monkeypatch):
    """Sets how long a bucket may keep us waiting; pauses are short, whatever is set."""

    def be(request_seconds=60.0, total_seconds=300.0):
        patience = bucket_patience.Patience(request_seconds, total_seconds, first_pause_seconds=0.02)
        monkeypatch.setattr(bucket_patience, "PATIENCE", patience)

    be()
    return be
