"""How much of the training is SW's doing: its share of the loss and of the gradient, block by block."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, median

from bench.config import Params
from bench.rows import Row
from bench.table import Table
from bench.tables import Naming

SMALLEST = 1e-6  # what is below is as good as nothing

Losses = dict[str, float]

EXPLAINED = (
    "SW's share of the loss and of the gradient norms in the last epoch, %: of the first block, the median and the"
    " least; of several seeds their mean. Where it is far below 1 %, SW hardly changes what is minimised, whatever"
    " its weight says, and a difference may be no more than how far two trainings drift apart. MSE averages over"
    " channels where L2 sums, and both square what SW does not."
)


def by_block(row: Row, value: Callable[[Losses], float]) -> tuple[list[int], list[float]]:
    """Return the blocks, and the mean over seeds of a value of their last epochs."""
    seeds = [{int(losses["block"]): value(losses) for losses in result.losses} for result in row.results]
    blocks = sorted(set.intersection(*(set(seed) for seed in seeds)))
    return blocks, [fmean(seed[block] for seed in seeds) for block in blocks]


def has_shares(row: Row) -> bool:
    """Say whether SW was one of several terms of the loss that a row was trained with."""
    found = [losses for result in row.results for losses in result.losses]
    return bool(found) and all("sw_grad_share" in losses for losses in found)


def of_loss(losses: Losses) -> float:
    return losses["sw"] / losses["loss"]


def of_gradient(losses: Losses) -> float:
    return losses["sw_grad_share"]


def presence_table(params: Params, rows: list[Row]) -> Table:
    """A row per row with SW beside another term."""
    naming = Naming(params, None)
    body = []
    for row in filter(has_shares, rows):
        shares = (by_block(row, of)[1] for of in (of_loss, of_gradient))
        body.append([*naming.of(row), *(_percent(x) for s in shares for x in (s[0], median(s), min(s)))])
    headers = [*naming.headers, "loss, first", "median", "least", "gradient, first", "median", "least"]
    return Table(body, headers, left=len(naming.headers))


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share >= SMALLEST else f"< {100 * SMALLEST:.4f}"
