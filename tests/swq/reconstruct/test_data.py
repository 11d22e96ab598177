"""Batches of a block's samples."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric

from swq.reconstruct.data import BlockData


@pytest.mark.parametrize(
    ("indices", "copied"),
    [
        ([0], False),
        ([3], False),
        ([1, 2], False),
        ([0, 1, 2, 3], False),
        ([2, 1], True),
        ([0, 2], True),
        ([1, 1], True),
    ],
)
def test_batch_holds_the_samples_and_copies_no_neighbours(fabric: Fabric, indices: list[int], copied: bool) -> None:
    hidden, fp_output = torch.randn((2, 4, 5, 3), generator=torch.Generator().manual_seed(1))
    batch = BlockData(hidden, fp_output).batch(fabric, indices)
    assert batch.aug_output is None
    for found, whole in ((batch.hidden, hidden), (batch.fp_output, fp_output)):
        assert torch.equal(found, torch.stack([whole[index] for index in indices]))
        assert (found.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr()) == copied
