"""A run directory on a file system that is full: a real one of 2 MB, in a mount namespace of the test."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

COMMITS = """
import sys
from pathlib import Path
from reward_finetuning.failures import classify
from reward_finetuning.storage import Identity, open_store

store = open_store(sys.argv[1] + "/run")

def commit(name, megabytes):
    def write(folder):
        (folder / "weights.safetensors").write_bytes(b"w" * int(megabytes * 2**20))
        return {}
    return store.commit(name, Identity(kind="policy", fingerprint="f", epoch=1), write)

commit("epochs/0001/policy", 1)
store.replace_json("latest.json", {"epoch": 1}, expected=None)
try:
    commit("epochs/0002/policy", 4)
except OSError as error:
    print(type(classify(error)).__name__, classify(error))
store.check("epochs/0001/policy")
assert store.read_json("latest.json") == {"epoch": 1}
assert store.manifest("epochs/0002/policy") is None
left = [path.name for path in Path(sys.argv[1], "run", "epochs", "0002").rglob("*")]
assert not left, left
commit("epochs/0002/policy", 0.5)  # there is room again: the attempt that failed has left nothing
store.check("epochs/0002/policy")
print("done")
"""


def test_r6_a_full_disk_is_worth_a_retry_and_the_last_checkpoint_stays_whole(tmp_path):
    mount = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", tmp_path, sys.executable, COMMITS]

    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("RetryableError the disk is full")
    assert done.stdout.endswith("done\n")
