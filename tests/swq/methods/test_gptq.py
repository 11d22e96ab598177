"""GPTQ against its paper's equations written out, and what it is worth: dead channels, damping, order, propagation."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.gptq import GPTQ
from swq.methods.gptq.block import GPTQBlock, stages_of
from swq.methods.gptq.solve import BATCH, inverse_factor, solve
from swq.methods.quantizer import BlockContext
from swq.methods.rtn import RTN
from swq.models.adapter import DecoderModel
from swq.quant.affine import QuantizedWeight, quantize_weight
from swq.quant.moments import Moments
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.families import FAMILIES, tiny_model

OUT, IN, TOKENS = 12, 192, 300
SCHEMES = [Scheme(2), Scheme(3), Scheme(2, 32), Scheme(3, 64), Scheme(4, 96)]


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def linear(dead: Iterable[int] = ()) -> tuple[Tensor, Tensor]:
    """Return a weight and the second moments of an input whose channels are correlated and differ in size."""
    inputs = normals(TOKENS, IN) @ normals(IN, IN, seed=1) * normals(IN, seed=2).exp()
    inputs[:, list(dead)] = 0
    return normals(OUT, IN, seed=3), Moments.of(inputs).second[0]


def literal(
    weight: Tensor, second: Tensor, scheme: Scheme, percdamp: float, act_order: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes, scales and zero points by the paper's eq. 2 and 3: H^-1 is reduced by Gauss-Jordan after each
    column, and every weight that is left is updated at once. In float64.
    """
    w, hessian = weight.double(), 2 * second.double()
    n, width = w.shape[1], scheme.group_size or w.shape[1]
    hessian = hessian + percdamp * hessian.diagonal().mean() * torch.eye(n, dtype=torch.float64)
    inverse = torch.linalg.inv(hessian)
    order = sorted(range(n), key=lambda q: -hessian[q, q].item()) if act_order else range(n)

    def grid(group: int) -> tuple[Tensor, Tensor]:
        part = w[:, group * width : (group + 1) * width]
        scale = (part.amax(dim=1) - part.amin(dim=1)) / scheme.quant_max
        return scale, (-(part.amin(dim=1) / scale).round()).clamp(0, scheme.quant_max)

    grids = {group: grid(group) for group in range(n // width)}
    codes = torch.empty_like(w)
    for q in order:
        if not act_order and q % width == 0:
            grids[q // width] = grid(q // width)
        scale, zero = grids[q // width]
        codes[:, q] = ((w[:, q] / scale).round() + zero).clamp(0, scheme.quant_max)
        error = w[:, q] - (codes[:, q] - zero) * scale
        w = w - torch.outer(error / inverse[q, q], inverse[q])
        inverse = inverse - torch.outer(inverse[:, q], inverse[q]) / inverse[q, q]
    return codes, *(torch.stack([grids[g][part] for g in sorted(grids)], dim=1).unsqueeze(2) for part in (0, 1))


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_it_is_the_papers_equations(scheme: Scheme, act_order: bool) -> None:
    """A group, or a row, is wider than a batch of columns in two schemes, and narrower in the others."""
    weight, second = linear()
    ours = solve(weight, second, scheme, torch.float32, 0.01, act_order)
    codes, scale, zero_point = literal(weight, second, scheme, 0.01, act_order)
    assert torch.equal(ours.codes, codes.to(torch.uint8)) and torch.equal(ours.zero_point.double(), zero_point)
    torch.testing.assert_close(ours.scale.double(), scale, rtol=1e-5, atol=0.0)
    rounded = quantize_weight(weight, scheme, scale_dtype=torch.float32)
    assert (ours.codes != rounded.codes).float().mean() > 0.2, "rounding to nearest would be as good a test"
    assert IN > BATCH


def test_the_factor_is_that_of_the_inverse() -> None:
    _, second = linear()
    upper = inverse_factor(second, 0.1)
    one = torch.eye(IN, dtype=torch.float64)
    damped = second.double() + 0.1 * second.double().diagonal().mean() * one
    torch.testing.assert_close(upper.T @ upper @ damped, one, rtol=0.0, atol=1e-12)
    assert torch.equal(upper, upper.triu()) and (upper.diagonal() > 0).all()


def output_error(found: QuantizedWeight, weight: Tensor, second: Tensor) -> float:
    change = found.dequantize() - weight
    return ((change @ second) * change).sum().item()


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_output_changes_less_than_by_rounding_to_nearest(scheme: Scheme, act_order: bool) -> None:
    weight, second = linear()
    ours = output_error(solve(weight, second, scheme, torch.float16, 0.01, act_order), weight, second)
    assert ours < (0.4 if act_order else 1.0) * output_error(quantize_weight(weight, scheme), weight, second)


def test_much_damping_is_rounding_to_nearest() -> None:
    weight, second = linear()
    scheme = Scheme(3, 32)
    found = solve(weight, second, scheme, torch.float16, 1e9, False)
    assert torch.equal(found.codes, quantize_weight(weight, scheme).codes)
    assert not torch.equal(solve(weight, second, scheme, torch.float16, 1.0, False).codes, found.codes)


@pytest.mark.parametrize("percdamp", [0.0, 0.01])
def test_a_dead_channel_is_rounded_to_nearest_and_moves_nothing(percdamp: float) -> None:
    """Its neighbours get the codes that they have without it. Per channel, with a row's ends elsewhere."""
    dead = [3, 100]
    alive = [channel for channel in range(IN) if channel not in dead]
    weight, second = linear(dead)
    weight[:, dead] *= 0.1
    scheme = Scheme(3)
    found = solve(weight, second, scheme, torch.float32, percdamp, False)
    assert torch.equal(found.codes[:, dead], quantize_weight(weight, scheme, scale_dtype=torch.float32).codes[:, dead])
    share = len(alive) / IN  # the mean of the diagonal is taken over fewer channels
    without = solve(weight[:, alive], second[alive][:, alive], scheme, torch.float32, percdamp * share, False)
    assert torch.equal(found.codes[:, alive], without.codes)


def test_what_cannot_be_inverted_is_said() -> None:
    second = Moments.of(normals(10, 64)).second[0]  # fewer tokens than channels
    with pytest.raises(
        UserError, match=r"64 input channels cannot be inverted with percdamp 0: give a larger percdamp"
    ):
        solve(normals(4, 64), second, Scheme(3), torch.float16, 0.0, False)
    assert solve(normals(4, 64), second, Scheme(3), torch.float16, 0.01, False).dequantize().isfinite().all()
    with pytest.raises(UserError, match="cannot be inverted"):
        solve(normals(4, 64), second * torch.nan, Scheme(3), torch.float16, 0.01, False)
    with pytest.raises(UserError, match="gptq: percdamp is -1; it must be at least 0"):
        GPTQ(percdamp=-1)


SCHEME, FOUR_BITS = Scheme(2, 32), Scheme(4, 32)


def context(model: DecoderModel, paths: ActivationPaths) -> BlockContext:
    return BlockContext(
        model.blocks[0],
        model.linears(0),
        SCHEME,
        torch.float32,
        model.family.not_clipped,
        model.scale_pairs(0),
        lambda names, group_size, n_tokens, tensors=None: paths.moments(0, names, group_size, n_tokens, tensors),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_every_linear_sees_what_the_rounded_ones_before_it_give(fabric: Fabric, name: str) -> None:
    """Each one alone, in forward order, is as good as those of a stage together. And the order matters."""
    model = tiny_model(name)
    tokens = torch.randint(0, 96, (3, 24), generator=torch.Generator().manual_seed(5))
    paths = ActivationPaths(fabric, model, tokens)
    block = context(model, paths)
    stages = stages_of(block)
    assert [linear for stage in stages for linear in stage] == list(block.linears)
    assert len(stages) == (6 if name == "opt-post-norm" else 4), "norms that no scale passes are no pair"
    found, at_once = GPTQBlock(GPTQ(), block), GPTQBlock(GPTQ(true_sequential=False), block)
    before: dict[str, Tensor] = {}
    for linear, module in block.linears.items():
        second = paths.moments(0, [linear], None, 1000, before)[linear].second[0]
        wanted = solve(module.weight, second, SCHEME, torch.float32, 0.01, False)
        assert torch.equal(found.weights[linear].codes, wanted.codes), linear
        before[f"{linear}.weight"] = wanted.dequantize()
        same = torch.equal(at_once.weights[linear].codes, wanted.codes)
        assert same == linear.endswith(("q_proj", "k_proj", "v_proj", "qkv_proj")), linear
    assert found.forward().keys() == before.keys()


@torch.no_grad()
def logit_error(model: DecoderModel, records: list[BlockRecord], tokens: Tensor) -> float:
    quantized = DecoderModel.load(model.model.name_or_path).model
    for r in records:
        Artefact("x", FOUR_BITS, "m", r.shapes, r.packed, r.changed).apply(quantized, "m")
    wanted = model.model(tokens).logits
    return ((quantized(tokens).logits - wanted).norm() / wanted.norm()).item()


def test_the_models_error_is_below_that_of_rounding_and_of_searched_ranges(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor
) -> None:
    """At 4 bits. At 2 bits, searched ranges are worth more to this model than what GPTQ does."""

    def walked(method: Method) -> list[BlockRecord]:
        return list(reconstruct(fabric, tiny_llama, Recipe(method, FOUR_BITS, None), calibration))

    gptq = walked(GPTQ())
    for ours, again in zip(gptq, walked(GPTQ()), strict=True):
        assert all(torch.equal(tensor, again.packed[name]) for name, tensor in ours.packed.items())
    rtn, clips, ordered = (
        logit_error(tiny_llama, walked(m), calibration) for m in (RTN(), AWQ(scale=False), GPTQ(act_order=True))
    )
    assert ordered < logit_error(tiny_llama, gptq, calibration) < clips < rtn


def test_it_needs_calibration(fabric: Fabric, tiny_llama: DecoderModel) -> None:
    with pytest.raises(UserError, match="GPTQ needs calibration tokens"):
        next(reconstruct(fabric, tiny_llama, Recipe(GPTQ(), SCHEME, None)))
