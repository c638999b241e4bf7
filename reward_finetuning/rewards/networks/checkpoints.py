"""Load tensors from untrusted files, and load them into a network with strict names and shapes."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from reward_finetuning.config.errors import UserError
from reward_finetuning.rewards.sources import file_sha256
from reward_finetuning.server_errors import one_line

Network = TypeVar("Network", bound=nn.Module)
State = dict[str, Tensor]

_SHOWN = 3
_DOWNLOAD = "truncated or not such a file; download it again: rft fetch-weights"


def read_state(path: Path, *, sha256: str | None = None) -> State:
    """Tensors by name, from safetensors or from a pickle that contains only tensors.

    Args:
        path: a `.safetensors` file, or a file of torch.save, with tensors at the top level or under "state_dict".
        sha256: digest of the published file, if it is listed; a converted file has another digest.

    Raises:
        UserError: the file is truncated, has another format, was modified, or is a pickle that would run code.
    """
    converted = path.suffix == ".safetensors"
    if sha256 is not None and not converted and file_sha256(path) != sha256:
        raise UserError(f"{path} has sha256 {file_sha256(path)}, the published file has {sha256}: download it again")
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise UserError(f"{path} is a git LFS pointer, not the weights: run `git lfs pull` in its repository")
    state = _read_safetensors(path) if converted else _read_pickle(path)
    if isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is not a state dict: it must contain tensors by name, it contains {_kinds(state)}")
    return state


def fill(make: Callable[[], Network], state: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> Network:
    """A network with these weights, in eval mode and without gradients.

    Args:
        make: creates the network; its initial weights are not allocated.
        state: all weights of the network, and no others.
        path: file of the weights, for the error message.
        dtype: data type of the network.

    Raises:
        UserError: weights are missing, unexpected or have another shape; the message names a few of them.
    """
    from accelerate import init_empty_weights

    with init_empty_weights():
        network = make()
    # Older versions of transformers and BLIP stored this constant.
    state = {name: value for name, value in state.items() if not name.endswith("position_ids")}
    _check_names(network, state, path)
    cast = {name: value.to(dtype) for name, value in state.items()}
    network.load_state_dict(cast, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def read_config(path: Path, model_type: str, name: str) -> dict[str, Any]:
    """The content of transformers' config.json.

    Args:
        path: the file.
        model_type: of the model that the scorer needs; a config without one passes.
        name: of the model, for the error message.

    Raises:
        UserError: it is no JSON, or another model's.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): download it again") from error
    if not isinstance(tree, dict) or tree.get("model_type", model_type) != model_type:
        kind = tree.get("model_type") if isinstance(tree, dict) else type(tree).__name__
        raise UserError(f"{path} describes a {kind}; this scorer needs a {name} model (model_type: {model_type})")
    return tree


def part(state: Mapping[str, Tensor], prefix: str) -> State:
    """The tensors whose names start with `prefix`, with the prefix removed."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a complete safetensors file ({error}): {_DOWNLOAD}") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():
            function = str(error).split("GLOBAL ", 1)[-1].split(" ", 1)[0]
            raise UserError(
                f"{path} is refused: loading it would run code ({function}); a weights file contains only tensors"
            ) from error
        raise UserError(f"{path} is not a PyTorch checkpoint ({_DOWNLOAD})") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = one_line(error, 200)
        raise UserError(f"{path} cannot be read as a PyTorch checkpoint ({reason}): {_DOWNLOAD}") from error
    return loaded if isinstance(loaded, dict) else {"": loaded}


def _check_names(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    actual = {name: tuple(value.shape) for name, value in state.items()}
    other_shape = [
        f"{name} is {list(actual[name])}, should be {list(shape)}"
        for name, shape in expected.items()
        if name in actual and actual[name] != shape
    ]
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in (
            ("missing", sorted(expected.keys() - actual.keys())),
            ("unexpected", sorted(actual.keys() - expected.keys())),
            ("of another shape", other_shape),
        )
        if names
    ]
    if problems:
        raise UserError(f"{path} does not contain the weights of this scorer: {'; '.join(problems)}")


def _kinds(state: Mapping[str, Any]) -> str:
    return ", ".join(sorted({type(value).__name__ for value in state.values()})) or "nothing"
