"""Properties of the affine quantizer that hold for any weight."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swq.errors import UserError
from swq.kernels.fake_quantize import fake_quantize
from swq.quant.affine import (
    quantize_weight,
    weight_range,
)
from swq.quant.scheme import SUPPORTED_BITS, Scheme


def random_weight(rows: int = 32, columns: int = 128) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("n_bits", SUPPORTED_BITS)
@pytest.mark.parametrize("group_size", [None, 32])
def test_unclipped_error_is_at_most_half_a_step(n_bits: int, group_size: int | None) -> None:
    """Also at 8 bits, for which nothing was recorded. The bound is reached: half a step is not a loose one."""
    weight, scheme = random_weight(), Scheme(n_bits, group_size)
    stored = quantize_weight(weight, scheme, scale_dtype=torch.float32)
    error = scheme.group((weight - stored.dequantize()).abs()) / stored.scale
    assert 0.45 < error.max() <= 0.5 + 1e-4


@pytest.mark.parametrize("n_bits", SUPPORTED_BITS)
def test_codes_use_the_whole_range(n_bits: int) -> None:
    """The group's smallest weight is code 0 and its largest the last code, give or take one rounding."""
    codes = quantize_weight(random_weight(), Scheme(n_bits, 64), scale_dtype=torch.float32).codes
    groups = Scheme(n_bits, 64).group(codes)
    assert codes.dtype == torch.uint8
    assert (groups.amin(dim=-1) == 0).all()
    assert (groups.amax(dim=-1) >= 2**n_bits - 2).all() and codes.max() == 2**n_bits - 1


def test_zero_is_exact_in_a_group_around_it() -> None:
    """A zero weight stays zero: its code is the zero point."""
    weight = random_weight()
    weight[:, ::7] = 0.0
    assert (quantize_weight(weight, Scheme(3, 32)).dequantize()[:, ::7] == 0).all()


def test_rounding_is_half_to_even_and_gradients_equal_those_of_autograd() -> None:
    """The hand-written gradient against autograd's of the same formula, rounding straight through."""
    grouped = Scheme(3, 32).group(random_weight()).requires_grad_()
    ends = [end.detach() * 0.8 for end in weight_range(grouped)]
    upstream = torch.randn(grouped.shape, generator=torch.Generator().manual_seed(7))
    gradients = []
    for written_out in (True, False):
        wmin, wmax = (end.clone().requires_grad_() for end in ends)
        if written_out:
            output = fake_quantize(grouped, wmin, wmax, 3)
        else:
            scale = (wmax - wmin) / 7
            zero_point = (-(wmin / scale).round()).clamp(0, 7).detach()
            ratio = grouped / scale
            output = ((ratio + (ratio.round() - ratio).detach() + zero_point).clamp(0, 7) - zero_point) * scale
        gradients.append(torch.autograd.grad(output, (grouped, wmin, wmax), upstream))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    halves = torch.tensor([[[0.5, 1.5, 2.5, 7.0]]])
    assert fake_quantize(halves, torch.zeros(1, 1, 1), torch.full((1, 1, 1), 7.0), 3).flatten().tolist() == [0, 2, 2, 7]


def test_weights_beyond_the_range_get_no_straight_through_gradient() -> None:
    """A clamped code does not move with its weight, one inside the range does."""
    grouped = torch.tensor([[[-1.0, -0.2, 0.3, 5.0]]], requires_grad=True)
    fake_quantize(grouped, torch.tensor([[[-1.0]]]), torch.tensor([[[1.0]]]), 2).sum().backward()
    assert grouped.grad.flatten().tolist() == [1.0, 1.0, 1.0, 0.0]


def test_codes_follow_from_the_rounded_scale() -> None:
    """What is propagated must be what is stored: codes of the unrounded scale would pair with the wrong step."""
    weight, scheme = random_weight(), Scheme(8, 32)
    half = quantize_weight(weight, scheme)
    full = quantize_weight(weight, scheme, scale_dtype=torch.float32)
    grouped, step = scheme.group(weight), half.scale.float()
    wanted = ((grouped / step).round() - (weight_range(grouped)[0] / step).round()).clamp(0, 255)
    assert half.scale.dtype == torch.float16
    assert torch.equal(half.codes, wanted.reshape(weight.shape).to(torch.uint8))
    assert not torch.equal(half.codes, full.codes)


def test_per_channel_is_one_group_as_wide_as_the_row() -> None:
    channel = quantize_weight(random_weight(), Scheme(4))
    group = quantize_weight(random_weight(), Scheme(4, 128))
    assert channel.scale.shape == (32, 1, 1)
    assert torch.equal(channel.dequantize(), group.dequantize())


def test_groups_do_not_touch_each_other() -> None:
    """An outlier in one group leaves every other group's weights as they were."""
    weight = random_weight()
    outlier = weight.clone()
    outlier[0, 5] = 100.0
    before, after = (quantize_weight(w, Scheme(3, 32)).dequantize() for w in (weight, outlier))
    assert torch.equal(before[0, 32:], after[0, 32:]) and torch.equal(before[1:], after[1:])
    assert not torch.equal(before[0, :32], after[0, :32])


@pytest.mark.parametrize("n_bits", SUPPORTED_BITS)
@pytest.mark.parametrize("scale_dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_zero_group_stays_zero(n_bits: int, scale_dtype: torch.dtype) -> None:
    """Its range is empty, so without a smallest one the scale would be 0, or round to 0 when stored."""
    stored = quantize_weight(torch.zeros(2, 64), Scheme(n_bits, 32), scale_dtype=scale_dtype)
    assert (stored.scale > 0).all()
    assert (stored.dequantize() == 0).all()


@pytest.mark.parametrize(("constant", "code"), [(0.05, 3), (-0.05, 0)])
def test_constant_group_saturates_at_one_end(constant: float, code: int) -> None:
    """As in the authors' code: the zero point is clamped, so the group becomes the smallest range, not its value."""
    stored = quantize_weight(torch.full((2, 32), constant), Scheme(2, 32), scale_dtype=torch.float32)
    assert (stored.codes == code).all()
    torch.testing.assert_close(stored.dequantize(), torch.full((2, 32), 1e-5 if constant > 0 else -1e-5))


@pytest.mark.parametrize(("low", "high", "zero_point"), [(1.0, 2.0, 0), (-2.0, -1.0, 3)])
def test_one_sided_group_clamps_its_zero_point(low: float, high: float, zero_point: int) -> None:
    """The clamped zero point keeps it inside the code's bits; every weight then gets the code nearest to it."""
    stored = quantize_weight(torch.linspace(low, high, 32).reshape(1, 32), Scheme(2, 32))
    assert stored.zero_point.flatten().tolist() == [zero_point]
    assert (stored.codes == 3 - zero_point).all()


def test_range_too_large_for_the_scale_is_an_error() -> None:
    with pytest.raises(UserError, match="a weight range does not fit a float16 scale"):
        quantize_weight(torch.tensor([[-3e5, 3e5]]), Scheme(2))
