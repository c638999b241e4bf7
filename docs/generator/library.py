"""Reference of the public library and of the components, from their docstrings."""

from __future__ import annotations

from pathlib import Path

PACKAGES = {
    "objectives": """\
The maths of learning. Functions are pure: tensors in, tensors out. `B` is the number of images, `T` the number of
denoising steps.""",
    "diffusion": """\
The maths of sampling: the grid of timesteps, one denoising step, its log-probability, a rollout. A denoiser is any
callable `(x [B, C, H, W], t [B], prompt embeddings) -> epsilon`, so these functions work with your network.""",
    "rewards": "Scorers behind one protocol. The guide is [rewards](../rewards.md).",
    "policy": "A diffusers pipeline as a trainable denoiser: load, adapters, checkpoints, export.",
}
_COMPONENTS = """\
The components are plain typed functions. `kfp.dsl.component` makes them tasks of your own pipeline, in an image that
has this package installed. The example is `docs/examples/own_pipeline.py`; the tests compile it and run it with
`kfp.local`. It adds a component of its own after the training:"""
_CONFIG = """\
`config` is the JSON text of a run file (`RunConfig.model_dump_json()`) for the first task, `next_epochs`. The other
tasks take its output `run`: the address of the settings that the first task has recorded."""
_PRIVATE = {"verification", "verification_pictures", "launcher"}


def pages(root: Path) -> dict[str, str]:
    """Path in the site -> reference of a package, a module a section."""
    library = {
        f"reference/{name}.md": _reference(f"reward_finetuning.{name}", text, root / "reward_finetuning" / name)
        for name, text in PACKAGES.items()
    }
    return {**library, "reference/components.md": _components(root)}


def _reference(package: str, text: str, folder: Path) -> str:
    return "\n\n".join([f"# `{package}`", text, f"::: {package}", *_modules(package, folder)]) + "\n"


def _modules(package: str, folder: Path) -> list[str]:
    stems = (path.stem for path in sorted(folder.glob("*.py")))
    return [f"::: {package}.{stem}" for stem in stems if not stem.startswith("_") and stem not in _PRIVATE]


def _components(root: Path) -> str:
    example = (root / "docs" / "examples" / "own_pipeline.py").read_text(encoding="utf-8")
    parts = [
        "# Components",
        _COMPONENTS,
        f"```python\n{example.strip()}\n```",
        _CONFIG,
        *_modules("reward_finetuning.components", root / "components"),
    ]
    return "\n\n".join(parts) + "\n"
