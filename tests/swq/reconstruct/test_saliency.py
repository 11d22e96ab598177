"""Squared gradients, block by block, against those of the whole model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from swq.models.adapter import DecoderModel
from swq.reconstruct.saliency import squared_gradients
from tests.support.families import FAMILIES, UNKNOWN, tiny_lm, tiny_model

TOKENS = torch.randint(0, 96, (3, 12), generator=torch.Generator().manual_seed(0))


def whole(model: DecoderModel) -> list[dict[str, Tensor]]:
    """By one backward pass through the whole model for each sample."""
    found = [{name: torch.zeros_like(of.weight) for name, of in model.linears(i).items()} for i in range(2)]
    model.model.requires_grad_(True)
    for sample in TOKENS.split(1):
        model.model.zero_grad()
        model.model(sample, labels=sample).loss.backward()
        for index, block in enumerate(found):
            for name, linear in model.linears(index).items():
                block[name] += linear.weight.grad.square() / len(TOKENS)
    return found


@pytest.mark.parametrize("family", FAMILIES | UNKNOWN)
def test_block_by_block_equals_the_whole_model(fabric: Fabric, family: str) -> None:
    given, wanted = squared_gradients(fabric, tiny_model(family), TOKENS), whole(tiny_model(family))
    for ours, theirs in zip(given, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        for name, square in theirs.items():
            assert square.max() > 0
            torch.testing.assert_close(ours[name], square, rtol=1e-4, atol=1e-5 * square.max().item())


@pytest.mark.parametrize("family", ["llama-grouped", "opt"])
def test_a_model_on_disk_gives_the_same_bits(fabric: Fabric, family: str, tmp_path: Path) -> None:
    tiny_lm(family).save_pretrained(tmp_path)
    model = DecoderModel.open(tmp_path)
    given, wanted = squared_gradients(fabric, model, TOKENS), squared_gradients(fabric, tiny_model(family), TOKENS)
    for ours, theirs in zip(given, wanted, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert {parameter.device.type for parameter in model.model.parameters()} == {"meta"}, "it is left as it was"
