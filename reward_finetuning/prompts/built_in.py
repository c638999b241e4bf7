"""The prompt sets that come with the package.

- `shapes:train`, `shapes:heldout`, `shapes:large`: the built-in world's.
- `shapes-retrain:2026-09-01` and two later dates, `shapes-retrain:black`: the prompt sets of docs/retraining.md.
- `animals`: the 45 common animals, one word each, on which DDPO (arXiv:2305.13301) and PRDP's small scale
  (arXiv:2402.08714) train: ddpo_pytorch/assets/simple_animals.txt of github.com/kvablack/ddpo-pytorch, and the same
  45 as assets/common_animals.txt of github.com/jannerm/ddpo.
- `ppod:colour`, `ppod:count`, `ppod:composition`, `ppod:location`: the one prompt on which PPOD trains each of its four
  models. `ppod:colour-unseen` and so on are ten prompts of the same kind each, none of them the training prompt. The
  paper tests on unseen prompts without naming them: these are our choice.
- `geneval-like:train`, `geneval-like:heldout`: prompts in the format of GenEval, see geneval_like.
"""

from __future__ import annotations

from pathlib import Path

from reward_finetuning.config.errors import UserError

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = {
    "": _PACKAGE / "prompts" / "sets",
    "geneval-like:": _PACKAGE / "prompts" / "sets" / "geneval-like",
    "ppod:": _PACKAGE / "prompts" / "sets" / "ppod",
    "shapes:": _PACKAGE / "shapes" / "prompts",
    "shapes-retrain:": _PACKAGE / "shapes" / "prompts" / "retrain",
}


DATE = "{date}"
"""What stands for a date in the name of a prompt set, see pointer.follow."""


def built_in(source: str) -> Path | None:
    """The file of a built-in set; None where `source` is not written like one.

    Raises:
        UserError: no set of that family has that name; the text lists the names that exist.
    """
    prefix, name = _split(source)
    if prefix not in _FOLDERS:
        return None
    files = {path.stem: path for path in _files(prefix)}
    if name in files:
        return files[name]
    if not prefix:
        return None
    if DATE in name:
        return _FOLDERS[prefix] / name  # which of them is known when it is followed
    names = ", ".join(f"{prefix}{stem}" for stem in sorted(files))
    raise UserError(f"no built-in prompt set {source!r}; choose from {names}")


def siblings(source: str) -> list[str] | None:
    """Names of all sets of the family that `source` belongs to, sorted; None where it belongs to none."""
    prefix, _ = _split(source)
    if not prefix or prefix not in _FOLDERS:
        return None
    return sorted(f"{prefix}{path.stem}" for path in _files(prefix))


def _split(source: str) -> tuple[str, str]:
    group, separator, name = source.rpartition(":")
    return group + separator, name


def _files(prefix: str) -> list[Path]:
    return [path for path in _FOLDERS[prefix].iterdir() if path.is_file()]
