"""Weights that are sharded over the processes that train together (FSDP2): every process holds a part of each.

torch replaces each parameter by a DTensor. A forward or backward pass of one block gathers the weights of that block
from all processes, so all processes must make the same passes in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(network: nn.Module, device: torch.device) -> None:
    """Shard the parameters of `network` over all processes, block by block, and move them to `device`.

    Blocks are those that the network itself names as units (`_no_split_modules` of diffusers and transformers). The
    gradients of the processes are summed and not averaged, because the coefficients of a loss contain every 1/n.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    units = set(getattr(network, "_no_split_modules", None) or ())
    blocks = [module for module in network.modules() if type(module).__name__ in units]
    for module in [*reversed(blocks), network]:  # inner blocks first
        # Also the root: weights that stay gathered after a pass without gradient would be old after the next step.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for unit in _sharded_modules([network]):
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(enable=True)  # gloo has no other reduction with a factor


@contextmanager
def gathered(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Hold the whole of `networks` on every process, so that passes without gradient need no other process.

    All processes enter together. Networks that are not sharded stay as they are.
    """
    modules = _sharded_modules(networks)
    for module in modules:
        module.set_reshard_after_forward(reshard_after_forward=False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in modules:
            module.set_reshard_after_forward(reshard_after_forward=True, recurse=False)
            module.reshard()


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds a part of it alone."""
    return isinstance(tensor, DTensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor. Every process calls it for the same sharded tensors in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, in the same memory; all of it if it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: Tensor, weight: Tensor) -> Tensor:
    """A whole tensor, which each process has, sharded as `weight` is; the tensor itself if that is not sharded."""
    if not isinstance(weight, DTensor):
        return tensor
    on_device = tensor.to(weight.device)
    return distribute_tensor(on_device, weight.device_mesh, weight.placements, src_data_rank=None)


def _sharded_modules(networks: Sequence[nn.Module]) -> list[FSDPModule]:
    return [module for network in networks for module in network.modules() if isinstance(module, FSDPModule)]
