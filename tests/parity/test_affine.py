"""The quantizer against the recorded values of the authors' code: every bit of the result is the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swq.kernels.fake_quantize import fake_quantize
from swq.quant.affine import quantize_weight, weight_range
from swq.quant.scheme import Scheme
from tests.support.reference import Tensors, read_meta

CASES = sorted(name for name in read_meta()["unit"]["cases"] if name.startswith("w"))


def ranges(unit: Tensors, name: str) -> tuple[Scheme, Tensor, Tensor, Tensor, list[Tensor]]:
    """Return scheme, weight, range and clipping factors (low, up) of a case; weight and factors are leaves."""
    bits, granularity, clip = name.split(".")
    scheme = Scheme(int(bits[1:]), 32 if granularity == "per_group" else None)
    weight = unit["W"].clone().requires_grad_()
    low, high = weight_range(scheme.group(weight))
    if clip == "none":
        return scheme, weight, low, high, []
    factors = []
    for end in ("low", "up"):
        recorded = unit[f"{end}_{granularity.removeprefix('per_')}"]
        value = recorded.clone() if clip == "rand" else torch.full_like(recorded, 4.0)
        factors.append(value.reshape(low.shape).requires_grad_())
    return scheme, weight, low * factors[0].sigmoid(), high * factors[1].sigmoid(), factors


def test_every_recorded_case_is_tested() -> None:
    """Three bit widths, two granularities, three clippings: a smaller file would quietly test less."""
    assert len(CASES) == 18


@pytest.mark.parametrize("name", CASES)
def test_stored_weight_equals_recorded(unit: Tensors, name: str) -> None:
    scheme, weight, low, high, _ = ranges(unit, name)
    stored = quantize_weight(weight, scheme, low, high, scale_dtype=torch.float32)
    assert torch.equal(stored.codes, unit[f"{name}.codes"].to(torch.uint8))
    assert torch.equal(stored.scale.reshape(-1, 1), unit[f"{name}.scales"])
    assert torch.equal(stored.zero_point.reshape(-1, 1), unit[f"{name}.zeros"].to(torch.uint8))
    assert torch.equal(stored.dequantize(), unit[f"{name}.dequant"])


@pytest.mark.parametrize("name", CASES)
def test_fake_quantized_weight_and_gradients_equal_recorded(unit: Tensors, name: str) -> None:
    """What is trained through is what is stored, and its gradients reach the weight and both factors."""
    scheme, weight, low, high, factors = ranges(unit, name)
    output = fake_quantize(scheme.group(weight), low, high, scheme.n_bits).reshape(weight.shape)
    output.backward(unit["grad_out"])
    assert torch.equal(output, unit[f"{name}.dequant"])
    assert_close_to_scale(weight.grad, unit[f"{name}.grad_w"])
    for factor, end in zip(factors, ("low", "up"), strict=False):
        assert_close_to_scale(factor.grad.reshape(-1, 1), unit[f"{name}.grad_{end}"])


def assert_close_to_scale(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Compare with a bound relative to the largest entry: factor gradients are small, 1e-6 would pass any of them."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=3e-6 * wanted.abs().max().item())


def test_default_range_is_the_unclipped_one(unit: Tensors) -> None:
    """Leaving the range out must mean min and max, the recorded case without clipping."""
    stored = quantize_weight(unit["W"], Scheme(2, 32), scale_dtype=torch.float32)
    assert torch.equal(stored.dequantize(), unit["w2.per_group.none.dequant"])
