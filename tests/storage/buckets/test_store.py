"""What the network does between us and a bucket. G and R numbers are those of the fault matrix in docs/storage.md."""

import json
import random
import threading

import pytest
from servers.faults import Fault
from servers.gcs import GcsServer

from reward_finetuning.config import ArtifactError, RetryableError, UserError
from reward_finetuning.storage import Identity, RunDirectory, cache, open_store
from reward_finetuning.storage.artifacts.scores import ScoreCache

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=3, policy="p")
BIG = 17 * 2**20  # gs://: resumable above 8 MiB; s3://: in parts above 16 MiB

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def store(bucket):
    return open_store(f"{bucket.uri}/runs/tiny")


def files(**contents):
    def write(folder):
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return {}

    return write


def forget(store, name):
    """Leave the cache as on another machine."""
    cache.drop(store.manifest(name).checksum)


@pytest.mark.slow
@pytest.mark.parametrize("action", [503, 429, "reset", "lost"])
@pytest.mark.parametrize("kind", ["upload", "read", "metadata", "list", "delete"])
def test_g1_and_g4_what_passes_is_not_seen(bucket, store, action, kind):
    bucket.faults.append(Fault(action, kind, times=2))

    manifest = store.commit("a", IDENTITY, files(one=b"1" * 1000, two=b"2"))
    forget(store, "a")
    folder = store.fetch("a")
    assert store.create_json("x.json", {"n": 1})
    assert store.replace_json("x.json", {"n": 2}, expected={"n": 1})
    store.check("a")

    assert manifest.files.keys() == {"one", "two"}
    assert (folder / "one").read_bytes() == b"1" * 1000
    assert store.read_json("x.json") == {"n": 2}
    store.delete("a")
    assert bucket.names() == ["runs/tiny/x.json"]


@pytest.mark.slow
def test_g2_a_bucket_that_stays_down_is_worth_a_retry_of_the_task(bucket, store, patience):
    patience(total_seconds=1.5)
    bucket.faults.append(Fault(503, times=10**6))

    with pytest.raises(RetryableError, match=rf"{bucket.uri} does not answer \(HTTP 503"):
        store.commit("a", IDENTITY, files(one=b"1"))


@pytest.mark.slow
def test_g2_a_closed_port_is_worth_a_retry_of_the_task(bucket, store, monkeypatch, patience):
    patience(total_seconds=1.5)
    bucket.url = "http://127.0.0.1:9"
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(RetryableError, match=f"{bucket.uri} does not answer"):
        store.read_json("x.json")


@pytest.mark.parametrize("kind", ["upload", "read", "list"])
def test_g3_a_bucket_that_is_closed_to_us_says_at_once_what_to_grant(bucket, store, kind):
    bucket.faults.append(Fault(403, kind, times=10**6))

    def work():
        store.commit("a", IDENTITY, files(one=b"1"))
        store.names("")

    with pytest.raises(
        UserError, match=rf"{bucket.uri}: access is denied.*(roles/storage.objectUser|allow s3:GetObject)"
    ):
        work()
    assert sum(request.kind == kind for request in bucket.requests) == 1


def test_g3_a_bucket_that_is_not_there_is_not_an_empty_one(bucket):
    elsewhere = open_store(f"{bucket.scheme}://no-such-bucket/runs")

    for ask in (
        lambda: elsewhere.read_json("x.json"),
        lambda: elsewhere.names("epochs"),
        lambda: elsewhere.create_json("x.json", {}),
    ):
        with pytest.raises(UserError, match=r"(gs|s3)://no-such-bucket: there is no such bucket"):
            ask()


def test_g4_a_pointer_whose_answer_was_lost_has_moved(bucket, store):
    store.create_json("latest.json", {"epoch": 1})
    bucket.faults.append(Fault("lost", "upload", "latest"))

    assert store.replace_json("latest.json", {"epoch": 2}, expected={"epoch": 1})


@pytest.mark.slow
def test_g4_a_pointer_that_another_moved_to_the_same_value_has_not_moved(bucket, store):
    store.create_json("n.json", {"n": 0})
    other = open_store(store.uri)
    bucket.faults.append(Fault(0.3, "upload", "n.json"))  # the first of the two waits on its way
    slow = threading.Thread(target=lambda: moved.append(store.replace_json("n.json", {"n": 1}, expected={"n": 0})))
    moved = []
    slow.start()
    while bucket.faults[0].times:
        pass

    assert other.replace_json("n.json", {"n": 1}, expected={"n": 0})
    slow.join()
    assert moved == [False]


@pytest.mark.parametrize("size", [1000, BIG])
def test_g5_what_arrives_damaged_is_sent_again(bucket, store, size):
    bucket.faults += [Fault("corrupt", "upload", "data.bin"), Fault("corrupt", "chunk", "data.bin")]

    store.commit("a", IDENTITY, files(**{"data.bin": b"x" * size}))
    forget(store, "a")

    assert (store.fetch("a") / "data.bin").read_bytes() == b"x" * size


def test_g5_and_g6_a_damaged_document_is_sent_and_read_again(bucket, store):
    bucket.faults += [Fault("corrupt", "upload", "x.json", times=2), Fault("corrupt", "read", "x.json", times=2)]

    assert store.create_json("x.json", {"n": 1})
    assert store.read_json("x.json") == {"n": 1}


@pytest.mark.parametrize("action", ["corrupt", "truncate"])
def test_g6_and_g7_what_is_read_damaged_is_read_again(bucket, store, action):
    store.commit("a", IDENTITY, files(one=b"x" * 100_000))
    forget(store, "a")
    bucket.faults.append(Fault(action, "read", "one", times=2))

    assert (store.fetch("a") / "one").read_bytes() == b"x" * 100_000


def test_g6_what_is_damaged_every_time_leaves_no_file(bucket, store, tmp_path):
    store.commit("a", IDENTITY, files(one=b"x" * 1000))
    forget(store, "a")
    bucket.faults.append(Fault("corrupt", "read", "one", times=10**6))

    with pytest.raises(ArtifactError, match=r"one was altered: 3 downloads differ from its 1000 bytes with crc32c"):
        store.fetch("a")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_g7_a_download_that_breaks_off_every_time_leaves_no_file(bucket, store, tmp_path, patience):
    patience(total_seconds=1.5)
    store.commit("a", IDENTITY, files(one=b"x" * 100_000))
    forget(store, "a")
    bucket.faults.append(Fault(503, "read", "one", times=10**6))

    with pytest.raises(RetryableError, match="does not answer"):
        store.fetch("a")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["upload", "read"])
def test_g8_a_server_that_falls_silent_is_asked_again(bucket, store, kind, patience):
    patience(request_seconds=0.5)
    bucket.faults.append(Fault(1.5, kind, "one"))

    store.commit("a", IDENTITY, files(one=b"1"))
    forget(store, "a")

    assert (store.fetch("a") / "one").read_bytes() == b"1"


@pytest.mark.slow
@pytest.mark.parametrize("action", [503, "reset", "lost"])
def test_g9_a_large_upload_goes_on_after_a_break(bucket, store, action):
    bucket.faults.append(Fault(action, "chunk", "large"))
    content = random.Random(0).randbytes(BIG)

    store.commit("a", IDENTITY, files(large=content))
    forget(store, "a")

    assert (store.fetch("a") / "large").read_bytes() == content


@pytest.mark.slow
def test_g10_one_file_that_cannot_be_uploaded_fails_the_whole_commit(bucket, store, patience):
    patience(total_seconds=1.5)
    bucket.faults.append(Fault(503, "upload", "two", times=10**6))

    with pytest.raises(RetryableError):
        store.commit("a", IDENTITY, files(one=b"1", two=b"2", three=b"3"))
    assert store.manifest("a") is None
    assert store.names("") == []


def test_g11_an_object_that_is_gone_is_named(bucket, store):
    store.commit("a", IDENTITY, files(one=b"1", two=b"2"))
    forget(store, "a")
    (lost,) = [name for name in bucket.names() if name.endswith("/two")]
    bucket.remove(lost)

    with pytest.raises(ArtifactError, match=rf"{bucket.uri}/{lost} is gone"):
        store.fetch("a")
    with pytest.raises(ArtifactError, match=rf"two of {bucket.uri}/runs/tiny/a was deleted or replaced"):
        store.check("a")


def test_g11_an_object_that_was_replaced_is_not_read(bucket, store):
    store.commit("a", IDENTITY, files(one=b"1"))
    forget(store, "a")
    (name,) = [name for name in bucket.names() if name.endswith("/one")]
    bucket.put(name, b"2")

    with pytest.raises(ArtifactError, match=r"one is gone: someone deleted or replaced it"):
        store.fetch("a")
    with pytest.raises(ArtifactError, match="was deleted or replaced"):
        store.check("a")


def test_an_artifact_does_not_take_another_of_a_similar_name_with_it(bucket, store):
    for name in ("rewards", "rewards-1", "rewards.1"):
        store.commit(f"epochs/0001/{name}", IDENTITY, files(one=name.encode()))

    store.delete("epochs/0001/rewards")

    assert store.names("epochs/0001") == ["rewards-1", "rewards.1"]
    forget(store, "epochs/0001/rewards.1")
    assert (store.fetch("epochs/0001/rewards.1") / "one").read_bytes() == b"rewards.1"


def test_the_manifest_says_where_each_file_lies_and_which_writing_of_it(bucket, store):
    store.commit("epochs/0003/policy", IDENTITY, files(one=b"1234"))

    manifest = json.loads(bucket.data("runs/tiny/epochs/0003/policy/manifest.json"))
    place = manifest["objects"]["one"]
    assert place["generation"] == bucket.generation(place["object"])
    assert place["object"].startswith("runs/tiny/epochs/0003/.policy.")
    assert manifest["files"]["one"]["size"] == 4


def test_a_listing_of_many_pages_is_whole(bucket, store):
    for number in range(25):
        bucket.put(f"runs/tiny/epochs/{number:04d}/policy/manifest.json", b"{}")
    bucket.page_size = 4

    assert store.names("epochs") == [f"{number:04d}" for number in range(25)]


def test_the_client_asks_for_nothing_but_what_it_is_told_to(bucket, store):
    store.create_json("x.json", {})
    store.read_json("x.json")

    assert [request.kind for request in bucket.requests] == ["upload", "read"]


def test_what_two_servers_hold_is_not_mixed_up(gs, monkeypatch):
    store = open_store("gs://bucket/runs/tiny")
    store.create_json("x.json", {"n": 1})

    with GcsServer() as other:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", other.url)
        assert store.read_json("x.json") is None


def test_an_account_that_may_only_create_commits_and_scores(bucket, run_config):
    bucket.faults.append(Fault(403, "delete", times=10**6))
    config = run_config(run_root=f"{bucket.uri}/runs", tracking={"enabled": False})
    run = RunDirectory(config)
    run.begin({}, {})

    with ScoreCache(run, 1, "scores-a-") as scores:
        scores.add([(b"k" * 32, 0.5)])
    ScoreCache(run, 1, "scores-a-").forget()

    assert ScoreCache(run, 1, "scores-a-").get(b"k" * 32) == 0.5


def test_entries_that_stay_as_they_are_are_asked_for_once(bucket, store):
    for number in range(3):
        store.create_json(f"journal/{number}.json", {"n": number})
    store.create_json("journal/0.json.sent", {})

    read = [store.read_all("journal", ".json") for _ in range(2)]

    assert read == [{f"{number}.json": {"n": number} for number in range(3)}] * 2
    assert bucket.downloads() == [f"runs/tiny/journal/{number}.json" for number in range(3)]
