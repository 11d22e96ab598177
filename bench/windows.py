"""Windows of text that a quantized model breaks down on: a few can decide a perplexity and hide the others."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.config import Params
from bench.results import CellResult
from bench.rows import Row
from bench.statistics import Array
from bench.table import Table
from bench.tables import Naming

FAR = 1.0  # nats a token
LARGEST = 30.0  # nats a token; the perplexity of more is too long to read, and of 710 no float

EXPLAINED = (
    f"A window counts as broken that lies more than {FAR:g} nat a token further from full precision than its cell's"
    " median window; where half or more are lost, none stands out. Few windows then decide the perplexity, and seeds"
    " lie far apart by which of them broke. `python benchmarks/first_token.py CELL` tries whether it hangs on a"
    " window's first token, on which later ones lean."
)


def broken_windows(params: Params, results: dict[str, CellResult], rows: list[Row]) -> Table:
    """A row per cell and text with broken windows: their numbers (from 1), the perplexity with and without."""
    naming = Naming(params, None)
    body = []
    for row in rows:
        reference = results.get(params.reference(row.keys[0]) or "")
        for result in row.results:
            if reference is None or reference.diverged or result.diverged:
                continue
            seed = str(params.cells[result.key].seed)
            for text, losses in result.token_losses.items():
                broken = is_broken(losses, reference.token_losses[text])
                if broken.any():
                    numbers = ", ".join(str(place + 1) for place in np.flatnonzero(broken))
                    values = map(_perplexity, (losses, losses[broken], losses[~broken]))
                    body.append([*naming.of(row), seed, text, f"no. {numbers} of {len(broken)}", *values])
    headers = [*naming.headers, "seed", "text", "broken windows", "perplexity", "of these", "of the others"]
    return Table(body, headers, left=len(naming.headers) + 2)


def is_broken(losses: Array, reference: Array) -> NDArray[np.bool_]:
    """Say of each window whether it broke, (n_windows,), from a cell's losses and full precision's.

    Args:
        losses: (n_windows, T - 1) in nats.
        reference: the same.
    """
    excess = losses.mean(axis=1, dtype=np.float64) - reference.mean(axis=1, dtype=np.float64)
    broken: NDArray[np.bool_] = excess > np.median(excess) + FAR
    return broken


def _perplexity(losses: Array) -> str:
    mean = losses.mean(dtype=np.float64)
    return f"{math.exp(mean):,.2f}" if mean < LARGEST else f"exp({mean:.0f})"
