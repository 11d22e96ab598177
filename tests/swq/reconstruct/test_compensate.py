"""Bias compensation: no linear's mean output differs from full precision's, whatever method went before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

import swq
from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.base import Method
from swq.models.adapter import DecoderModel
from swq.models.biases import may_get_bias
from swq.quant.scheme import Scheme
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import _Walk, reconstruct
from swq.streaming import stream
from tests.support.families import FAMILIES, tiny_lm, tiny_model

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


@pytest.mark.parametrize(
    ("method", "family"), [(m, f) for f in ("opt", "llama") for m in METHODS if (m, f) != ("let", "llama")]
)  # without biases LET has nothing to shift
def test_mean_outputs_are_those_of_full_precision(fabric: Fabric, method: str, family: str) -> None:
    """Of the linears whose outputs no scale moves: what attention and the MLP add to the hidden states."""
    names = {"opt": ["self_attn.out_proj", "fc2"], "llama": ["self_attn.o_proj", "mlp.down_proj"]}[family]
    model = tiny_model(family)
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


def test_switches_make_the_biases_that_they_are_said_to_make() -> None:
    """In the model that transformers builds; and nowhere else. Qwen2 has none, though its relatives do."""
    for name, (model_type, config) in FAMILIES.items():
        switches = may_get_bias(model_type)
        plain, biased = (
            DecoderModel(AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **config, **on))).linears(0)
            for on in ({}, dict.fromkeys(switches.values(), True))
        )
        assert {linear for linear in plain if plain[linear].bias is None and biased[linear].bias is not None} == {
            *switches
        }, name
    assert not any(map(may_get_bias, ("mistral", "qwen2", "phi3", "opt")))
    assert {"qwen3", "gemma2", "gemma3_text"} <= {kind for kind, _ in FAMILIES.values() if may_get_bias(kind)}


@pytest.mark.parametrize("family", ["llama-grouped", "llama3", "qwen3", "gemma2", "gemma3"])
@pytest.mark.parametrize("packed", [False, True])
def test_added_biases_are_stored_counted_and_exported(family: str, packed: bool, tmp_path: Path) -> None:
    model = tiny_lm(family)
    without, added = (
        swq.quantize(model, TOKENS, SCHEME, swq.RTN(), bias_compensation=on, scale_dtype="float32")
        for on in (False, True)
    )
    assert model.model.layers[0].self_attn.q_proj.bias is None and not model.config.attention_bias
    got = {path.rpartition(".")[2] for path in added.artefact.biased}
    assert got >= {"q_proj", "o_proj"} and ("down_proj" in got) == family.startswith("llama")
    bias_bits = 32 * sum(added.artefact.shapes[path][0] for path in added.artefact.biased)
    n_weights = sum(out * inputs for out, inputs in added.artefact.shapes.values())
    assert added.bits_per_weight == pytest.approx(without.bits_per_weight + bias_bits / n_weights)
    added.save(tmp_path / "artefact")
    read = Artefact.load(tmp_path / "artefact")
    assert read.biased == sorted(added.artefact.biased) and "added biases" in read.besides
    added.export(tmp_path / "out", model, packed=packed)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    added.apply(model)
    assert model.model.layers[1].self_attn.q_proj.bias.abs().max() > 0 and model.config.attention_bias
    with torch.no_grad():
        torch.testing.assert_close(opened(TOKENS).logits, model(TOKENS).logits, atol=1e-5, rtol=1e-4)


def test_an_artefact_over_a_folder_has_the_added_biases(tmp_path: Path) -> None:
    """As scoring opens it, with blocks that are read as they run."""
    model = tiny_lm("llama")
    model.save_pretrained(tmp_path)
    made = swq.quantize(tmp_path, TOKENS, SCHEME, swq.RTN(), bias_compensation=True).artefact
    opened = DecoderModel.open(tmp_path, torch.float32, made.over, made.biased)
    streamed, _ = stream(opened, torch.device("cpu"), 0)
    made.apply(model, made.model_sha256)
    with torch.no_grad():
        torch.testing.assert_close(streamed(TOKENS).logits, model(TOKENS).logits)


@pytest.mark.parametrize(
    ("family", "tokens", "message"),
    [
        (
            "mistral",
            TOKENS,
            "bias_compensation shifts .*, and no quantized linear of a mistral model has or may get one",
        ),
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
