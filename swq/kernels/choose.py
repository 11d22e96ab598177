"""Which kernels are used: the compiled ones, where a trial finds the same bits as the plain formulas."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from swq.kernels import native
from swq.kernels.fake_quantize import fake_quantize
from swq.kernels.soft_weight import soft_weight

AUTO, COMPILED, PLAIN = "auto", "compiled", "plain"


def use(wanted: str, device: torch.device) -> str:
    """Use the plain formulas from here on, or compiled kernels. Return which, for a record of the machine.

    Args:
        wanted: AUTO uses compiled kernels if they can be built and give the same bits. PLAIN does not.
        device: where training computes. Kernels are for the CPU.
    """
    native.use(None)
    library = native.build() if wanted == AUTO and device.type == "cpu" else None
    if library is None or not _same_bits(library):
        native.use(None)
        return PLAIN
    native.use(library)
    return COMPILED


def _same_bits(library: ctypes.CDLL) -> bool:
    """Compare outputs and gradients of both, on groups that are summed in different ways."""
    for shape in ((64, 3, 64), (5, 2, 13), (3, 1, 1576)):
        native.use(None)
        plain = _outcomes(shape)
        native.use(library)
        if not all(map(torch.equal, plain, _outcomes(shape))):
            return False
    return True


def _outcomes(shape: tuple[int, int, int]) -> list[Tensor]:
    """Return outputs and gradients of both formulas on weights that reach every branch of them."""
    generator = torch.Generator().manual_seed(shape[0])
    wmax = torch.rand(*shape[:2], 1, generator=generator)
    wmin = wmax + 0.2 - 2 * torch.rand(wmax.shape, generator=generator)  # sometimes above wmax
    weight, scale = torch.randn(shape, generator=generator), (wmax - wmin) / 7
    weight[:, :, ::3] = scale * (torch.arange(shape[0]).view(-1, 1, 1) % 9 - 4.5)  # between two codes
    rounding = 3 * torch.randn(shape, generator=generator)
    rounding[:, :, ::7], rounding[:, :, ::5] = torch.inf, -torch.inf
    upstream = torch.randn(shape, generator=generator)
    floor, zero_point = (weight / scale).floor(), torch.full_like(scale, 3.0)
    for variable in (wmin, wmax, weight, rounding, scale):
        variable.requires_grad_()
    fake, soft = fake_quantize(weight, wmin, wmax, 3), soft_weight(floor, rounding, zero_point, 7, scale)
    of_fake = torch.autograd.grad(fake, (weight, wmin, wmax), upstream)
    return [fake.detach(), *of_fake, soft.detach(), *torch.autograd.grad(soft, (rounding, scale), upstream)]
