"""Losses that are not the same in every block, or for every sample: SW's start block, and the mismatched placebo."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.errors import UserError
from swq.losses import Loss
from swq.methods.omniquant import OmniQuant
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel
from swq.reconstruct.data import BlockData
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct
from tests.support.recipes import SAMPLES, SCHEME, assert_same_records, hybrid_recipe

METHOD = OmniQuant(epochs=2, lwc_lr=0.05)
SW = Loss({"mse": 0.9, "sw": 0.1}, 8)
PLACEBO = Loss({"mse": 0.9, "sw_mismatched": 0.1}, 8)


def made(fabric: Fabric, model: DecoderModel, calibration: Tensor, recipe: Recipe) -> list[BlockRecord]:
    return list(reconstruct(fabric, model, recipe, calibration))


def test_a_batch_brings_the_samples_that_follow(fabric: Fabric) -> None:
    """The first one follows the last; a second target is that sample's second target."""
    hidden, target, second = (torch.arange(4.0).view(4, 1, 1) + 10 * place for place in range(3))
    data = BlockData(hidden, target, second)
    other = data.batch(fabric, [3, 0], with_other=True).other
    assert other is not None and other.aug_output is not None
    assert other.fp_output.flatten().tolist() == [10, 11] and other.aug_output.flatten().tolist() == [20, 21]
    assert data.batch(fabric, [3, 0]).other is None


def test_before_its_start_block_sw_changes_no_bit(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor
) -> None:
    """The first block is that of the base loss at its weight; the second one is trained with SW."""
    late = made(fabric, tiny_llama, calibration[:4], Recipe(METHOD, SCHEME, replace(SW, sw_start_block=1)))
    base = made(fabric, tiny_llama, calibration[:4], Recipe(METHOD, SCHEME, Loss({"mse": 0.9})))
    assert_same_records(late[:1], base[:1])
    assert all(step.keys() >= {"loss", "mse", "sw"} for step in late[1].trace)
    assert late[1].trace[0]["mse"] == base[1].trace[0]["mse"], "up to there, both walked the same way"


@pytest.mark.parametrize("method", [METHOD, TesseraQ(thresholds=(0.5, 0.1), iterations=4)])
def test_the_placebo_is_sw_where_all_samples_are_alike(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor, method: OmniQuant | TesseraQ
) -> None:
    """And another training where they are not."""
    alike, unlike = calibration[:1].repeat(4, 1), calibration[:4]
    for samples, same in ((alike, True), (unlike, False)):
        ours = made(fabric, tiny_llama, samples, Recipe(method, SCHEME, PLACEBO))
        sw = made(fabric, tiny_llama, samples, Recipe(method, SCHEME, SW))
        for a, b in zip(ours, sw, strict=True):
            assert all(torch.equal(a.learned[name], b.learned[name]) for name in a.learned) is same


def test_a_placebo_can_be_normalised(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    """At the start of a block, its weight is its share."""
    loss = Loss({"l2": 0.8, "sw_mismatched": 0.2}, 64, normalised=True)
    for record in made(fabric, tiny_llama, calibration[:8], Recipe(replace(METHOD, lwc_lr=1e-6), SCHEME, loss)):
        share = sum(step["sw_mismatched"] for step in record.trace) / sum(step["loss"] for step in record.trace)
        assert share == pytest.approx(0.2, abs=0.02)


def test_the_placebo_needs_two_samples(fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor) -> None:
    with pytest.raises(UserError, match="there is only one calibration sample"):
        made(fabric, tiny_llama, calibration[:1], Recipe(METHOD, SCHEME, PLACEBO))


def test_a_second_target_has_a_placebo_of_its_own(
    fabric: Fabric, tiny_llama: DecoderModel, calibration: Tensor
) -> None:
    recipe = replace(hybrid_recipe(), loss=PLACEBO)
    records = made(fabric, tiny_llama, calibration[:SAMPLES], recipe)
    assert all(step["sw_mismatched"] > 0 for record in records for step in record.trace)
