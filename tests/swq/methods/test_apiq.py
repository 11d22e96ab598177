"""ApiQ: without adapters it is learned clipping; adapters lower the loss; saliency holds the weights that matter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

import swq
from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.apiq import ApiQ
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.models.adapter import DecoderModel
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import _Walk, check_fits, reconstruct
from swq.reconstruct.saliency import squared_gradients
from tests.support.families import FAMILIES, tiny_lm, tiny_model
from tests.support.recipes import SCHEME, assert_same_records

HYBRID = Loss({"mse": 0.9, "sw": 0.1}, n_projections=8)
MSE = Loss({"mse": 1.0})


def walk(fabric: Fabric, model: DecoderModel, tokens: Tensor, method: Method, loss: Loss = MSE) -> list[BlockRecord]:
    return list(reconstruct(fabric, model, Recipe(method, SCHEME, loss), tokens, progress=False))


def last_loss(records: list[BlockRecord], tokens: Tensor, block: int = 0) -> float:
    """The mean loss over the last epoch of a block."""
    return sum(step["loss"] for step in records[block].trace[-len(tokens) :]) / len(tokens)


@pytest.mark.parametrize("aug_loss", [False, True])
def test_rank_0_is_learned_clipping(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, aug_loss: bool
) -> None:
    """Bit for bit: every tensor, and the loss of every step."""
    ours = ApiQ(0, epochs=2, lwc_lr=0.03, lwc_weight_decay=0.1, aug_loss=aug_loss)
    theirs = OmniQuant(epochs=2, lwc_lr=0.03, weight_decay=0.1, aug_loss=aug_loss)
    given, wanted = (walk(fabric, tiny_llama, calibration, method, HYBRID) for method in (ours, theirs))
    assert_same_records(given, wanted)


def test_an_adapter_lowers_the_block_loss(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    without, narrow, wide = (
        last_loss(walk(fabric, tiny_llama, calibration, ApiQ(rank, 8, 0.02, 0.1, 0.01)), calibration)
        for rank in (0, 4, 16)
    )
    assert wide < narrow < without


def test_saliency_of_weight_0_changes_nothing(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    given = walk(fabric, tiny_llama, calibration, ApiQ(8, 2, saliency_weight=0.0, saliency_samples=2), HYBRID)
    assert_same_records(given, walk(fabric, tiny_llama, calibration, ApiQ(8, 2), HYBRID))


def moved(records: list[BlockRecord], model: DecoderModel, saliency: list[dict[str, Tensor]]) -> tuple[float, float]:
    """Return the squared change of the weights of a model, those with the top tenth of saliency and all others."""
    top = others = 0.0
    for index, record in enumerate(records):
        artefact = Artefact("apiq", SCHEME, "", record.shapes, record.packed)
        for name, square in saliency[index].items():
            path = f"{model.block_name(index)}.{name}"
            change = (artefact.weight(path).dequantize() - model.linears(index)[name].weight).square()
            salient = square > square.quantile(0.9)
            top, others = top + change[salient].sum().item(), others + change[~salient].sum().item()
    return top, others


def test_saliency_moves_salient_weights_less(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    """Both less than without, and less relative to the other weights."""
    saliency = squared_gradients(fabric, tiny_llama, calibration)
    methods = [ApiQ(8, 8, lwc_lr=0.02, adapter_lr=0.01, saliency_weight=weight) for weight in (0.0, 1.0)]
    plain, held = (moved(walk(fabric, tiny_llama, calibration, of), tiny_llama, saliency) for of in methods)
    assert held[0] < 0.9 * plain[0]
    assert held[0] / held[1] < 0.9 * plain[0] / plain[1]


def test_the_term_is_recorded_beside_the_others(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    (step, *_) = walk(fabric, tiny_llama, calibration, ApiQ(8, 1, saliency_weight=0.5, aug_loss=True), HYBRID)[0].trace
    assert step["loss"] == pytest.approx(step["mse"] + step["sw"] + step["saliency"])
    assert 0 < step["saliency"] < 0.5, "setting every weight to 0 would be 0.5"


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_propagated_is_what_is_stored(fabric: Fabric, name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    tokens = torch.randint(0, 96, (2, 12), generator=torch.Generator().manual_seed(0))
    recipe = Recipe(ApiQ(4, 2, adapter_lr=0.01, saliency_weight=0.1, saliency_samples=1), SCHEME, HYBRID)
    records = list(reconstruct(fabric, model, recipe, tokens, progress=False))
    shapes = {path: shape for record in records for path, shape in record.shapes.items()}
    Artefact("apiq", SCHEME, "m", shapes, {n: t for r in records for n, t in r.packed.items()}).save(tmp_path / "a")
    artefact = Artefact.load(tmp_path / "a")
    assert artefact.has_adapters
    propagated = _Walk(fabric, model, recipe, None, lambda *_: tokens, lambda: None)
    for index, record in enumerate(records):
        for path, tensor in propagated.stored(index, record).items():
            whole = f"{model.block_name(index)}.{path}"
            assert torch.equal(artefact.weight(whole.removesuffix(".weight")).dequantize(), tensor)
    paths, applied = ActivationPaths(fabric, model, tokens), tiny_lm(name)
    for index, record in enumerate(records):
        paths.advance(index, paths.block_data(index, with_aug=False).fp_output, propagated.stored(index, record))
    artefact.apply(applied, "m")
    again = ActivationPaths(fabric, DecoderModel(applied), tokens)
    for index in range(len(records)):
        again.advance(index, again.block_data(index, with_aug=False).fp_output, {})
    assert torch.equal(again.fp_hidden, paths.quant_hidden)


def test_what_an_adapter_adds_is_counted(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    def bits(rank: int) -> float | None:
        (record, *_) = walk(fabric, tiny_llama, calibration, ApiQ(rank, 1))
        return Artefact("apiq", SCHEME, "", record.shapes, record.packed).bits_per_weight()

    linears = [linear.weight.shape for linear in tiny_llama.linears(0).values()]
    added = sum(16 * 8 * (out + inputs) for out, inputs in linears) / sum(out * inputs for out, inputs in linears)
    without, with_adapter = bits(0), bits(8)
    assert without is not None and with_adapter == pytest.approx(without + added)


def test_a_rank_that_no_linear_has_is_refused(tiny_llama: DecoderModel) -> None:
    """Before the gradients for the saliency are computed, which takes longest."""
    least = "apiq: rank 100 is too large: model.layers.0.self_attn.q_proj is 64 x 64, which takes at most 64"
    with pytest.raises(UserError, match=least):
        check_fits(tiny_llama, Recipe(ApiQ(100, 1), SCHEME, Loss({"mse": 1.0})))


def test_packed_export_says_what_carries_adapters(tmp_path: Path, calibration: Tensor) -> None:
    model = tiny_lm("llama")
    quantized = swq.quantize(model, calibration % 96, "w2a16g32", ApiQ(4, 1), {"mse": 1.0})
    with pytest.raises(UserError, match=r"packed: the weights have adapters.*; export it unpacked"):
        quantized.export(tmp_path / "packed", model, packed=True)
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize(
    "settings", [{"rank": -1}, {"epochs": 0}, {"adapter_lr": 0.0}, {"saliency_weight": -1.0}, {"saliency_samples": 0}]
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"apiq: {next(iter(settings))} is "):
        ApiQ(**settings)  # type: ignore[arg-type]
