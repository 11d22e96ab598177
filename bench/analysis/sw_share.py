"""SW's share of the training: of the loss and of the gradient, block by block."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from statistics import fmean

from bench.analysis.rows import Row

Losses = dict[str, float]


def by_block(row: Row, value: Callable[[Losses], float]) -> tuple[list[int], list[float]]:
    """Return the blocks, and the mean over seeds of a value of their last epochs.

    Blocks that were trained without a term that the value needs (`sw_start_block`) are left out.
    """
    seeds = [_values(_last_epochs(result.losses), value) for result in row.results]
    blocks = sorted(set.intersection(*(set(seed) for seed in seeds)))
    return blocks, [fmean(seed[block] for seed in seeds) for block in blocks]


def _values(blocks: dict[int, Losses], value: Callable[[Losses], float]) -> dict[int, float]:
    found = {}
    for block, losses in blocks.items():
        with suppress(KeyError):
            found[block] = value(losses)
    return found


def has_shares(row: Row) -> bool:
    """Say whether SW was one of several terms of the loss that a row was trained with, at least in some blocks."""
    return bool(row.results) and all(
        any("sw_grad_share" in losses for losses in _last_epochs(result.losses).values()) for result in row.results
    )


def _last_epochs(epochs: list[Losses]) -> dict[int, Losses]:
    """Return each block's last epoch: the only one in which the shares of the gradient are measured."""
    return {int(losses["block"]): losses for losses in epochs}


def of_loss(losses: Losses) -> float:
    return losses["sw"] / losses["loss"]


def of_gradient(losses: Losses) -> float:
    return losses["sw_grad_share"]
