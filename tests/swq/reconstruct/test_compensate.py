"""Bias compensation: no linear's mean output differs from full precision's, whatever method went before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

import swq
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.base import Method
from swq.models.adapter import DecoderModel
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import _Walk, reconstruct
from tests.support.families import tiny_lm, tiny_model

SCHEME = Scheme(2, 32)
TOKENS = torch.randint(0, 96, (3, 24), generator=torch.Generator().manual_seed(0))
MSE = Loss({"mse": 1.0})
METHODS: dict[str, Method] = {
    "rtn": swq.RTN(),
    "awq": swq.AWQ(),
    "gptq": swq.GPTQ(),
    "omniquant": swq.OmniQuant(epochs=1),
    "let": swq.OmniQuant(epochs=2, let=True, let_shift=True),
    "tesseraq": swq.TesseraQ((0.5,), iterations=2),
    "tesseraq from AWQ": swq.TesseraQ((0.5,), iterations=2, start=swq.AWQ()),
    "apiq": swq.ApiQ(4, 1),
}


def recipe_of(method: Method, compensated: bool = True) -> Recipe:
    loss = MSE if method.trains else None
    return Recipe(method, SCHEME, loss, scale_dtype="float32", bias_compensation=compensated)


def walked(fabric: Fabric, model: DecoderModel, recipe: Recipe) -> list[BlockRecord]:
    return list(reconstruct(fabric, model, recipe, TOKENS, progress=False))


def mean_outputs(
    model: DecoderModel, hidden: Tensor, tensors: dict[str, Tensor], names: list[str]
) -> dict[str, Tensor]:
    """By hooks on the outputs, so that nothing of the product is in it but the block."""
    found: dict[str, Tensor] = {}
    block = model.blocks[0]
    handles = [
        block.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: found.update({name: output.flatten(end_dim=-2).mean(dim=0)})
        )
        for name in names
    ]
    with torch.no_grad():
        torch.func.functional_call(block, tensors, (hidden,), model.first_inputs(TOKENS)[1][0])
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("method", METHODS)
def test_mean_outputs_are_those_of_full_precision(fabric: Fabric, method: str) -> None:
    """Of the linears whose outputs no scale moves: what attention and the MLP add to the hidden states."""
    model, names = tiny_model("opt"), ["self_attn.out_proj", "fc2"]
    hidden = model.first_inputs(TOKENS)[0]
    wanted = mean_outputs(model, hidden, {}, names)
    off = {}
    for compensated in (False, True):
        recipe = recipe_of(METHODS[method], compensated)
        (record, *_) = walked(fabric, model, recipe)
        stored = _Walk(fabric, model, recipe, None, lambda *_: hidden, lambda: None).stored(0, record)
        given = mean_outputs(model, hidden, stored, names)
        off[compensated] = {name: (given[name] - wanted[name]).norm() / wanted[name].norm() for name in names}
    assert all(off[True][name] < 1e-4 and off[False][name] > 0.01 for name in names), off


def test_every_bias_is_shifted_and_no_code_of_the_block_changes(fabric: Fabric) -> None:
    model = tiny_model("opt")
    without, (first, *_) = (walked(fabric, model, recipe_of(swq.RTN(), on)) for on in (False, True))
    assert {name.removesuffix(".bias") for name in first.changed} == set(first.shapes)
    assert all(torch.equal(first.packed[name], tensor) for name, tensor in without[0].packed.items())


def test_a_linear_without_a_bias_stays_as_it_is(fabric: Fabric) -> None:
    """Qwen2 has biases in queries, keys and values only. The second block's inputs differ between the paths."""
    model = tiny_model("qwen2")
    records = walked(fabric, model, recipe_of(swq.RTN()))
    for record in records:
        assert {name.rpartition(".")[0].rpartition(".")[2] for name in record.changed} == {"q_proj", "k_proj", "v_proj"}
    paths, plain = ActivationPaths(fabric, model, TOKENS), dict(model.blocks[1].named_parameters())
    walk = _Walk(fabric, model, recipe_of(swq.RTN()), None, lambda *_: TOKENS, lambda: None)
    paths.advance(0, paths.block_data(0, with_aug=False).fp_output, walk.stored(0, records[0]))
    name, stored = "self_attn.v_proj", walk.stored(1, records[1])
    mean = {
        of: paths.mean_inputs(1, [name], hidden, {})[name]
        for of, hidden in (("fp", paths.fp_hidden), ("quantized", paths.quant_hidden))
    }
    wanted = plain[f"{name}.weight"] @ mean["fp"] + plain[f"{name}.bias"]
    torch.testing.assert_close(stored[f"{name}.weight"] @ mean["quantized"] + stored[f"{name}.bias"], wanted)


def test_the_model_comes_closer_to_full_precision(fabric: Fabric) -> None:
    def error(compensated: bool) -> float:
        model = tiny_lm("opt")
        with torch.no_grad():
            wanted = model(TOKENS).logits
        swq.quantize(model, TOKENS, SCHEME, swq.RTN(), bias_compensation=compensated).apply(model)
        with torch.no_grad():
            return float((model(TOKENS).logits - wanted).norm() / wanted.norm())

    assert error(True) < 0.95 * error(False)


@pytest.mark.parametrize(
    ("family", "tokens", "message"),
    [
        ("llama", TOKENS, "bias_compensation shifts biases, and no quantized linear of this llama model has one"),
        ("opt", None, "bias_compensation needs calibration tokens"),
    ],
)
def test_what_it_cannot_do_is_one_line(family: str, tokens: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        swq.quantize(tiny_lm(family), tokens, SCHEME, swq.RTN(), bias_compensation=True)


def test_nothing_is_compensated_where_nothing_is_quantized() -> None:
    from swq.methods.fp import FullPrecision

    with pytest.raises(UserError, match="there is no bias to compensate"):
        Recipe(FullPrecision(), None, None, bias_compensation=True)
