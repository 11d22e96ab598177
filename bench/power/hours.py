"""Hours of one more seed of a row, by `estimate`'s arithmetic, without a network."""

from __future__ import annotations

from bench.config.params import Params
from bench.preflight.cost import cost
from bench.preflight.seconds import Rates
from bench.preflight.shapes import Shapes


def hours_of(params: Params, keys: tuple[str, ...], shapes: Shapes | None) -> float | None:
    """Return GPU hours of cells one after another; None if their model's shapes are not known."""
    if shapes is None:
        return None
    costs = [cost(params, params.cells[key], shapes, Rates()) for key in keys]
    return sum(c.reconstruct + c.score for c in costs) / 3600
