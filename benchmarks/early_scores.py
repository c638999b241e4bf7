"""Wall time of drawing and scoring a shard with a scorer on another machine: scored while images are drawn, and after.

    OMP_NUM_THREADS=1 python benchmarks/early_scores.py

128 images of the built-in model in 16 micro-batches. The scorer waits as a remote one would; `share` is its time for
a micro-batch as a share of the time in which one is drawn. Both forms draw the same images, in turn.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from reward_finetuning.config import RunConfig
from reward_finetuning.rewards.remote.server import ScoringServer, Served
from reward_finetuning.steps.draw import draw
from reward_finetuning.steps.early_scores import EarlyScores
from reward_finetuning.steps.next_epochs import next_epochs

IMAGES, SIZE, REPEATS = 128, 8, 5
SHARES = (0.25, 1.0, 2.0)


@contextmanager
def served(seconds: list[float]) -> Iterator[str]:
    """The address of a scorer that answers a request after `seconds[0]`."""

    def score(images: Any, prompts: Any) -> Any:
        time.sleep(seconds[0])
        return images.reshape(len(prompts), -1).mean(1)

    with ScoringServer("127.0.0.1", 0, Served("far", "d", score)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def config(folder: str, name: str, url: str) -> str:
    """The run, as JSON."""
    tree = {
        "name": name,
        "run_root": folder,
        "prompts": {"prompts_per_epoch": IMAGES // SIZE},
        "sampling": {"num_steps": 10, "images_per_prompt": SIZE, "micro_batch_size": SIZE},
        "reward": {"weights": {"far": 1.0}, "scorers": {"far": {"url": url}}, "batch_size": SIZE},
        "tracking": {"enabled": False},
    }
    return RunConfig.model_validate(tree).model_dump_json()


def wall_seconds(folder: str, name: str, url: str, *, early: bool) -> float:
    """Of the task `draw`."""
    run = config(folder, name, url)
    next_epochs(run, str(Path(folder) / "policy"))
    with nullcontext() if early else patch.object(EarlyScores, "begin"):
        began = time.monotonic()
        draw(run, "1", "0", str(Path(folder) / "rewards"))
        return time.monotonic() - began


def main() -> None:
    """Print a table."""
    print("| share | scored after, s | scored while drawn, s | ratio |\n" + "|---" * 4 + "|")
    waits = [0.0]
    with TemporaryDirectory() as folder, served(waits) as url:
        alone = min(wall_seconds(folder, f"warm-{repeat}", url, early=False) for repeat in range(2))
        for share in SHARES:
            waits[0] = share * alone / (IMAGES / SIZE)
            spent: dict[bool, list[float]] = {False: [], True: []}
            for repeat in range(REPEATS):
                for early, seconds in spent.items():
                    seconds.append(wall_seconds(folder, f"{share}-{repeat}-{early}", url, early=early))
            after, meanwhile = (statistics.median(seconds) for seconds in spent.values())
            print(f"| {share:g} | {after:.2f} | {meanwhile:.2f} | {after / meanwhile:.2f} |", flush=True)


if __name__ == "__main__":
    main()
