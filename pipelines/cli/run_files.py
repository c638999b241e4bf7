"""`rft runs`, and the run files that come with the package, by their names."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path

from reward_finetuning.config.errors import UserError

RUNS = Path(__file__).parents[1] / "runs"
_ENDINGS = (".yaml", ".yml")


def packaged() -> dict[str, Path]:
    """Name -> run file or evaluation file of the package, by name."""
    return {path.stem: path for path in sorted(RUNS.rglob("*.yaml"), key=lambda path: path.stem)}


def run_file(given: Path) -> Path:
    """The file that a CONFIG argument means.

    A value with a slash, or with the ending .yaml or .yml, is a path. Any other value is the name of a run file of the
    package; if there is none of that name, it is a path too. So a name always means the same file, whatever the working
    directory holds, and ./NAME is a file of the working directory.

    Raises:
        UserError: it is written like a name, and there is neither such a run nor such a file.
    """
    name = str(given)
    if "/" in name or name.endswith(_ENDINGS):
        return given
    files = packaged()
    if name in files:
        return files[name]
    if given.is_file():
        return given
    near = get_close_matches(name, files, n=1)
    hint = f"did you mean {near[0]}? rft runs" if near else "rft runs"
    raise UserError(f"no run {name!r}; {hint} lists those of the package, and a file is given as FILE.yaml or ./FILE")


def run_files(given: list[Path]) -> list[Path]:
    """`run_file` of each."""
    return list(map(run_file, given))


def complete(incomplete: str) -> list[str]:
    """Names for the completion of a shell."""
    return [name for name in packaged() if name.startswith(incomplete)]


def summary(path: Path) -> str:
    """The first sentence of the comment at the head of a run file."""
    lines = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    sentence, _, _ = " ".join(line.removeprefix("#").strip() for line in lines).partition(". ")
    return sentence.rstrip(".:")


def runs() -> None:
    """List the run files of the package: what `rft run NAME` and the other commands accept by name.

    Example: `rft runs`
    """
    from rich.table import Table
    from rich.text import Text

    from reward_finetuning.pipelines.cli.terminal import make_console

    table = Table("name", "what it is", box=None, padding=(0, 2, 0, 0))
    for name, path in packaged().items():
        table.add_row(Text(name), Text(summary(path)))
    make_console().print(table)
