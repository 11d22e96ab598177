"""Short reconstructions of the tiny model, for the tests of the walk over blocks."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from swq.losses import Loss
from swq.methods.omniquant import OmniQuant
from swq.methods.quantizer import BlockContext
from swq.models.adapter import DecoderModel
from swq.quant.moments import Moments
from swq.quant.scheme import Scheme
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.seeding import keyed_normals

SCHEME = Scheme(2, 32)
SAMPLES, EPOCHS = 4, 2  # of calibration; a block takes SAMPLES * EPOCHS steps


def hybrid_recipe(seed: int = 0, lwc_lr: float = 0.05) -> Recipe:
    """Every part at once: a term that draws, one that does not, and the second target."""
    method = OmniQuant(epochs=EPOCHS, lwc_lr=lwc_lr, aug_loss=True)
    return Recipe(method, SCHEME, Loss({"mse": 0.9, "sw": 0.1}, n_projections=8), seed)


def context(model: DecoderModel, index: int, scale_dtype: torch.dtype = torch.float32) -> BlockContext:
    """What a method that asks for no inputs is given of a block."""

    def moments(names: Iterable[str], group_size: int | None, n_tokens: int) -> dict[str, Moments]:
        raise AssertionError(f"{names} were asked for")

    return BlockContext(
        block=model.blocks[index],
        linears=model.linears(index),
        scheme=SCHEME,
        scale_dtype=scale_dtype,
        not_clipped=model.family.not_clipped,
        pairs=model.scale_pairs(index),
        moments=moments,
    )


class SpyNormals:
    """The normals a recipe of `seed` draws by itself; notes the blocks that ask, and may spoil the first draws of one
    key."""

    def __init__(self, seed: int = 0, spoil: tuple[int | str, ...] | None = None, times: int = 2) -> None:
        self.seed = seed
        self.spoil = spoil
        self.times = times
        self.keys: list[tuple[int | str, ...]] = []

    def __call__(self, key: tuple[int | str, ...], shape: tuple[int, ...]) -> torch.Tensor:
        self.keys.append(key)
        normals = keyed_normals(self.seed, ("sw", *key), shape)
        spoiled = key == self.spoil and self.keys.count(key) <= self.times
        return normals * float("nan") if spoiled else normals

    def blocks(self) -> set[int | str]:
        return {key[0] for key in self.keys}


def assert_same_records(given: list[BlockRecord], wanted: list[BlockRecord]) -> None:
    """Bit for bit: shapes, packed tensors, learned tensors and traces."""
    assert len(given) == len(wanted) > 0
    for ours, theirs in zip(given, wanted, strict=True):
        assert ours.shapes == theirs.shapes
        assert ours.trace == theirs.trace
        for mine, other in ((ours.packed, theirs.packed), (ours.learned, theirs.learned)):
            assert mine.keys() == other.keys() and mine
            assert all(torch.equal(mine[name], other[name]) for name in mine)
            assert all(mine[name].dtype == other[name].dtype for name in mine)
