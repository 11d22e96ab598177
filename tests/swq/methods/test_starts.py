"""TesseraQ from each of its starts: what is trained, with which targets, and what it is worth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.checkpoint import Artefact
from swq.losses import Loss
from swq.methods.awq import AWQ
from swq.methods.base import RangeMethod
from swq.methods.omniquant import OmniQuant
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.pieces import Pieces
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.recipes import SpyNormals, assert_same_records

SCHEME = Scheme(2, 32)
STARTS = [RTN(), AWQ(), AWQ(scale=False), OmniQuant(epochs=2, lwc_lr=0.05)]


def tesseraq(start: RangeMethod, iterations: int = 30) -> TesseraQ:
    return TesseraQ((0.5, 0.1), iterations, batch_size=2, lr=0.02, scale_lr=0.01, start=start)


def walk(fabric: Fabric, model: DecoderModel, recipe: Recipe, tokens: Tensor) -> list[BlockRecord]:
    return list(reconstruct(fabric, model, recipe, tokens))


@pytest.mark.parametrize("start", STARTS, ids=lambda start: str(start))
def test_training_lowers_the_error_that_the_start_leaves(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, start: RangeMethod
) -> None:
    """The last block's error on the calibration samples, hard codes against what the start alone rounds to."""
    loss = Loss({"l2": 1.0})
    alone = walk(fabric, tiny_llama, Recipe(start, SCHEME, loss if start.trains else None, 1), calibration)
    trained = walk(fabric, tiny_llama, Recipe(tesseraq(start), SCHEME, loss, 1), calibration)
    assert logit_error(tiny_llama, trained, calibration) < 0.9 * logit_error(tiny_llama, alone, calibration)
    steps = len(start.epoch_lengths(len(calibration))) * len(calibration) + 2 * 30
    assert [len(record.trace) for record in trained] == [steps, steps]


@torch.no_grad()
def logit_error(model: DecoderModel, records: list[BlockRecord], tokens: Tensor) -> float:
    quantized = DecoderModel.load(model.model.name_or_path).model
    for r in records:
        Artefact("tesseraq", SCHEME, "m", r.shapes, r.packed, r.changed).apply(quantized, "m")
    wanted = model.model(tokens).logits
    return ((quantized(tokens).logits - wanted).norm() / wanted.norm()).item()


def test_what_a_start_leaves_behind_is_kept(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    loss = Loss({"l2": 1.0})
    (from_awq, _), (from_omniquant, _) = (
        walk(fabric, tiny_llama, Recipe(tesseraq(start, 2), SCHEME, loss), calibration)
        for start in (STARTS[1], STARTS[3])
    )
    assert "model.layers.0.input_layernorm.weight" in from_awq.changed and not from_omniquant.changed
    factor = from_omniquant.learned["model.layers.0.start.mlp.up_proj.low_factor"]
    assert factor.shape[1:] == (2, 1) and not (factor == 4).all()
    assert "model.layers.0.mlp.up_proj.scale_factor" in from_omniquant.learned


def test_second_target_belongs_to_the_start(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    """OmniQuant's aug_loss holds while its clips are trained; TesseraQ's own rounds do without."""
    method = tesseraq(OmniQuant(epochs=1, aug_loss=True), iterations=3)
    spy = SpyNormals()
    recipe = Recipe(method, SCHEME, Loss({"l2": 0.9, "sw": 0.1}, n_projections=4))
    list(reconstruct(fabric, tiny_llama, recipe, calibration, normals=spy))
    augmented = {step for block, step, target in spy.keys if block == 0 and target == "aug_target"}
    steps = {step for block, step, target in spy.keys if block == 0 and target == "target"}
    assert augmented == set(range(8)) and steps == set(range(8 + 2 * 3))


def test_killed_run_with_changed_norms_goes_on_with_the_same_bits(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, tmp_path: Path
) -> None:
    recipe = Recipe(tesseraq(AWQ(), 3), SCHEME, Loss({"l2": 0.9, "sw": 0.1}, 8, normalised=True), seed=3)
    killed = reconstruct(fabric, tiny_llama, recipe, calibration, Pieces(tmp_path / "run"))
    next(killed)
    killed.close()
    resumed = list(reconstruct(fabric, tiny_llama, recipe, calibration, Pieces(tmp_path / "run")))
    whole = walk(fabric, tiny_llama, recipe, calibration)
    assert_same_records(resumed, whole)
    assert all(torch.equal(resumed[1].changed[name], tensor) for name, tensor in whole[1].changed.items())
    assert len(whole[1].changed) == 2
