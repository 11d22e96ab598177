"""A device that is not the CPU, without having one.

Tensors are fake: they have a device, a dtype and a shape, and no values. The device is PyTorch's `lazy`, for which the
CPU build runs forward and backward passes of fake tensors. It refuses an operation between two devices, as a GPU does.
What needs values is replaced: comparing and reading them. So is what PyTorch does not do there: autocast, fused Adam,
and moving a module of fake parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.accelerators import CPUAccelerator
from lightning.fabric.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.optim import Adam, AdamW

DEVICE = torch.device("lazy")


class _Pretended(CPUAccelerator):
    """Accepts another device than the CPU."""

    def setup_device(self, device: torch.device) -> None:
        pass


def pretended_fabric() -> Fabric:
    """Return a Fabric that owns the device."""
    return Fabric(strategy=SingleDeviceStrategy(device=DEVICE, accelerator=_Pretended()))


class _Finite:
    """The answer that every value is."""

    def all(self) -> bool:
        return True


@contextmanager
def pretending(patch: pytest.MonkeyPatch, autocast: bool = False) -> Iterator[None]:
    """Make tensors fake for as long as the context lasts, and replace what needs their values.

    Args:
        patch: takes everything back later.
        autocast: whether autocast stays as it is, for tensors on the CPU.
    """
    patch.setattr(nn.Module, "_apply", _apply)
    patch.setattr(torch, "equal", lambda one, other: one.shape == other.shape and one.device == other.device)
    if not autocast:
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    patch.setattr(FakeTensor, "__bool__", lambda _: False, raising=False)
    patch.setattr(FakeTensor, "__int__", lambda _: 0, raising=False)
    patch.setattr(FakeTensor, "item", lambda _: 1.0, raising=False)
    patch.setattr(torch, "isfinite", lambda tensor: _Finite())
    patch.setattr("swq.methods.tesseraq.block.Adam", lambda groups, fused: Adam(groups))
    patch.setattr("swq.methods.omniquant.block.AdamW", lambda groups, weight_decay, fused: AdamW(groups))
    with FakeTensorMode():
        yield


def _apply(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Move or convert a module by new parameters, where PyTorch would change the old ones."""
    for child in module.children() if recurse else ():
        _apply(child, change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                moved = change(parameter)
            module._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module
