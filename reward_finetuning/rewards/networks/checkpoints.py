"""Read tensors from a file that nobody has to trust, and fill a network with them strictly."""

from __future__ import annotations

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
_AGAIN = "truncated or no such file; fetch it again: rft fetch-weights"


def read_state(path: Path, *, sha256: str | None = None) -> State:
    """Tensors by name, of safetensors or of a pickle that holds tensors and nothing that runs.

    Args:
        path: a `.safetensors` file, or what torch.save wrote, bare or under the key "state_dict".
        sha256: of the file as published, where it is known; a conversion has another.

    Raises:
        UserError: the file is truncated, of another kind, altered, or a pickle that would run code.
    """
    converted = path.suffix == ".safetensors"
    if sha256 is not None and not converted and file_sha256(path) != sha256:
        raise UserError(f"{path} has sha256 {file_sha256(path)}, the published file has {sha256}: fetch it again")
    with path.open("rb") as file:
        if file.read(40).startswith(b"version https://git-lfs"):
            raise UserError(f"{path} is a git LFS pointer, not the weights: run `git lfs pull` in its repository")
    state = _read_safetensors(path) if converted else _read_pickle(path)
    if isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is no state dict: it should hold tensors by name, it holds {_kinds(state)}")
    return state


def fill(make: Callable[[], Network], state: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> Network:
    """A network with these weights, ready to score: in eval mode, without gradients.

    Args:
        make: builds the network; its initial weights are never made.
        state: every weight of the network, and nothing else.
        path: where they came from, for the error.
        dtype: of the network.

    Raises:
        UserError: weights are missing, unexpected or of another shape; at most a few are named.
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


def part(state: Mapping[str, Tensor], prefix: str) -> State:
    """The tensors under `prefix`, their names without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is no whole safetensors file ({error}): {_AGAIN}") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():
            named = str(error).split("GLOBAL ", 1)[-1].split(" ", 1)[0]
            raise UserError(
                f"{path} is refused: reading it would run code ({named}); weights hold tensors alone"
            ) from error
        raise UserError(f"{path} is no checkpoint of PyTorch ({_AGAIN})") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = one_line(error, 200)
        raise UserError(f"{path} cannot be read as a checkpoint of PyTorch ({reason}): {_AGAIN}") from error
    return loaded if isinstance(loaded, dict) else {"": loaded}


def _check_names(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    wrong = [
        f"{name} is {list(given[name])}, should be {list(shape)}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in (
            ("missing", sorted(wanted.keys() - given.keys())),
            ("unexpected", sorted(given.keys() - wanted.keys())),
            ("of another shape", wrong),
        )
        if names
    ]
    if problems:
        raise UserError(f"{path} holds other weights than this scorer's: {'; '.join(problems)}")


def _kinds(state: Mapping[str, Any]) -> str:
    return ", ".join(sorted({type(value).__name__ for value in state.values()})) or "nothing"
