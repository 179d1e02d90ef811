"""One model split over the processes of a run (FSDP2, `torch.distributed.fsdp.fully_shard`), and put together again to be saved.

Every layer is a unit of its own; embedding, final norm and head are one, gathered while a pass runs. Weights are gathered and gradients
summed in float32, and products are autocast as in one process: the same arithmetic, so the same weights within rounding. Each layer's
activations are computed again in the backward pass.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

MODES = ("auto", "whole", "fsdp")


def recompute(model: PreTrainedModel) -> None:
    """Keep a layer's input only, and compute the layer again in the backward pass: the same numbers, less memory, a third more time."""
    # transformers 5.20 gave it the first name; both take the settings first.
    enable: Callable[[dict[str, Any]], None] = (
        getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    )
    enable({"use_reentrant": False})


def shard(model: PreTrainedModel, device: str) -> None:
    """Split `model` (on the CPU, whole, the same in every process) over the process group, a layer at a time onto `device`."""
    import torch.distributed as distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device, (distributed.get_world_size(),))
    layers: Any = model.base_model.layers
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to(device)  # type: ignore[arg-type]  # the buffers; the shards are there
    model.through = types.MethodType(_through, model)  # type: ignore[assignment]
    register_fsdp_forward_method(model, "through")


def call(model: PreTrainedModel, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """`function(model, ...)`; where the model is split, with what lies outside its layers gathered, as its own forward would have it."""
    through = getattr(model, "through", None)
    return through(function, *arguments, **settings) if through else function(model, *arguments, **settings)


def reshard(model: PreTrainedModel) -> None:
    """Give back what a pass without a backward pass left gathered; nothing where the model is whole."""
    split: Any = model
    if hasattr(split, "through"):
        split.reshard()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor, on the CPU. Of a split one every process must ask together."""
    from torch.distributed.tensor import DTensor

    found = tensor.detach()
    return (found.full_tensor() if isinstance(found, DTensor) else found).cpu()


def split_like(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, which every process holds, as `like` is: its own part of it where `like` is split, on its device."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    moved = tensor.to(like.device)
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None) if isinstance(like, DTensor) else moved


def join(model: PreTrainedModel, keep: bool) -> None:
    """Put the whole weights back into a split model, on the CPU, in the process that is to `keep` them; it is only good for saving then.

    Every process must call it. Tied weights stay tied.
    """
    import torch

    if not hasattr(model, "through"):
        return
    reshard(model)
    joined: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in joined:
                full = whole(parameter)
                joined[parameter] = torch.nn.Parameter(full if keep else full[:0].clone(), requires_grad=parameter.requires_grad)
            setattr(module, name, joined[parameter])
        if type(module).__name__.startswith("FSDP"):  # the class that fully_shard derived: (FSDPModule, the original)
            module.__class__ = type(module).__mro__[2]
    del model.through


def _through(model: PreTrainedModel, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    return function(model, *arguments, **settings)
