"""What a model's files say without loading it: whether it is a pipeline, its digest, its grid. Needs no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.pretrained.architecture import check_fit, check_guidance, geometry
from reward_finetuning.policy.pretrained.built_in import BUILT_IN_MODELS, check_built_in
from reward_finetuning.policy.pretrained.folder import (
    architecture_of,
    check_folder,
    check_networks,
    check_weights,
    network_config,
    scheduler_config,
)
from reward_finetuning.policy.pretrained.noise_schedule import sampler_grid
from reward_finetuning.policy.pretrained.published_models import PUBLISHED_MODELS
from reward_finetuning.storage.entries import Entries
from reward_finetuning.storage.files import Stamp, files_below, stamp
from reward_finetuning.storage.folders import in_bucket, local_path

MODEL, INDEX = "model.digest", "model.index"
"""Keys of the fingerprint. model_index.json names the classes that load the parts; SDXL's says more."""

WEIGHT_SUFFIXES = {".safetensors", ".bin", ".ckpt", ".msgpack", ".onnx"}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def locate(model: ModelConfig) -> Path | None:
    """The model's folder or single file; None for a hub id.

    Raises:
        UserError: the folder is no pipeline saved by diffusers, or the source is neither a folder, a file nor a hub id.
    """
    path = BUILT_IN_MODELS.get(model.source) or _on_this_machine(model.source)
    if path.is_file():
        _check_single_file(model, path)
        return path
    if path.is_dir():
        check_folder(path, "model.source")
        return path
    if _HUB_ID.fullmatch(model.source):
        return None
    raise UserError(f"model.source {model.source!r} is no folder, no file and no hub id (owner/name)")


def pinned_revision(model: ModelConfig) -> str:
    """The commit of a hub id.

    Raises:
        UserError: none is given and PUBLISHED_MODELS has none; or a branch is given.
    """
    published = PUBLISHED_MODELS.get(model.source)
    revision = model.revision or (published.commit if published else None)
    if revision is None or not _COMMIT.fullmatch(revision):
        raise UserError(
            f"model.source: there is no folder {model.source}, and a hub id needs model.revision, the commit of 40 hex "
            f"digits, for branches move; got {revision!r}. Not needed for: {', '.join(PUBLISHED_MODELS)}"
        )
    return revision


def configs_of(model: ModelConfig) -> Path | None:
    """The folder whose model_index.json, configs and tokenizers hold for the model; None for a hub id."""
    source = locate(model)
    if source is None or source.is_dir():
        return source
    assert model.single_file_configs is not None
    return _on_this_machine(model.single_file_configs)


def _on_this_machine(source: str) -> Path:
    """The path of a source on this machine."""
    return local_path(source) if in_bucket(source) else Path(source).expanduser()


def model_digest(model: ModelConfig) -> str:
    """Identity of the pretrained weights: sha256 over its files, or `id@commit` of a hub; with that of an adapter."""
    source = locate(model)
    if source is None:
        digest = f"{model.source}@{pinned_revision(model)}"
    elif source.is_dir():
        digest = _digest(source, (p for p in files_below(source) if p.parent != source and not _hidden(p, source)))
    else:
        configs = configs_of(model)
        assert configs is not None
        small = (p for p in files_below(configs) if p.parent != configs and p.suffix not in WEIGHT_SUFFIXES)
        digest = f"{_digest(source.parent, [source])}+{_digest(configs, small)}"
    if model.adapter is None:
        return digest
    adapter = adapter_file(model)
    return f"{digest}+{_digest(adapter.parent, [adapter])}"


def model_digests(model: ModelConfig) -> dict[str, str]:
    """Entries of the fingerprint: MODEL, and INDEX, the sha256 of model_index.json; a hub id's commit covers both."""
    configs = configs_of(model)
    index = {} if configs is None else {INDEX: _digest(configs, [configs / "model_index.json"])}
    return {MODEL: model_digest(model)} | index


def text_digest(model: ModelConfig, entries: Entries) -> str:
    """Identity of the text encoders and tokenizers: sha256 over their files, or `id@commit` of a hub.

    Args:
        model: whose.
        entries: keep the digest for as long as no file changes, because T5-XXL has up to 19 GB.
    """
    source = locate(model)
    if source is None:
        return f"{model.source}@{pinned_revision(model)}"
    if source.is_file():
        return model_digest(model.model_copy(update={"adapter": None}))
    parts = [part for part in source.iterdir() if part.name.startswith(("text_encoder", "tokenizer"))]
    files = [file for part in sorted(parts) for file in files_below(part) if not _hidden(file, source)]
    files.append(source / "model_index.json")
    stamps = [(str(path.absolute()), *numbers) for path, *numbers in map(stamp, files)]
    key = sha256(json.dumps(["digest", stamps]).encode()).hexdigest()
    if (known := entries.read(key)) is not None:
        return known.decode()
    digest = _digest(source, files)
    entries.write(key, digest.encode())
    return digest


def adapter_file(model: ModelConfig) -> Path:
    """The file of `model.adapter`.

    Raises:
        UserError: there is none.
    """
    assert model.adapter is not None
    path = _on_this_machine(model.adapter)
    path = path / "pytorch_lora_weights.safetensors" if path.is_dir() else path
    if not path.is_file() or path.suffix != ".safetensors":
        raise UserError(
            f"model.adapter {model.adapter!r}: {path} is no safetensors file; give a LoRA file, or the folder that "
            "holds pytorch_lora_weights.safetensors, as diffusers saves it and rft export writes it"
        )
    return path


def check_model(model: ModelConfig, sampling: SamplingConfig) -> None:
    """Refuse what can be refused before any work; the files of a hub id are checked when they are loaded.

    Raises:
        UserError: the model is not there, is not whole, or its scheduler has no grid for `sampling`.
    """
    check_built_in(model)
    if model.adapter is not None:
        adapter_file(model)
    configs = configs_of(model)
    if configs is None:
        pinned_revision(model)
        return
    if model.revision is not None:
        raise UserError(f"model.revision belongs to a hub id, but source {model.source} is a path: remove it")
    source = locate(model)
    if source is not None and source.is_dir():
        check_weights(source, model.variant)
    architecture = architecture_of(configs)
    network, vae = network_config(configs, architecture.network), network_config(configs, "vae")
    check_networks(network, vae, model.source, architecture)
    check_fit(model, architecture)
    check_guidance(network, sampling, architecture)
    sizes = geometry(architecture, network, vae, sampling) if architecture.is_flow else None
    sampler_grid(scheduler_config(configs), sampling, architecture, sizes)


def _check_single_file(model: ModelConfig, path: Path) -> None:
    if path.suffix != ".safetensors":
        raise UserError(f"model.source {path} is a file, but not .safetensors: pickles can run code when they are read")
    if model.single_file_configs is None:
        raise UserError(
            f"model.source {path} holds weights alone: set model.single_file_configs to the folder of a pipeline of "
            "its kind, whose configs and tokenizers are used; rft fetch-weights OWNER/NAME --download makes one"
        )
    check_folder(_on_this_machine(model.single_file_configs), "model.single_file_configs")


def _hidden(path: Path, root: Path) -> bool:
    """Whether it is below a dot folder, where hub clients keep the metadata of a download."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _digest(root: Path, paths: Iterable[Path]) -> str:
    return _digest_of(root, tuple(stamp(path) for path in paths))


@lru_cache(maxsize=32)
def _digest_of(root: Path, files: tuple[Stamp, ...]) -> str:
    """sha256 over names and contents, in order; read once a process for as long as no file changes."""
    digest = sha256()
    for path, *_ in files:
        digest.update(f"{path.relative_to(root)}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
