"""Windows of text that a cell breaks down on, and the perplexity with and without them."""

from __future__ import annotations

import math

import numpy as np

from bench.analysis.broken_windows import FAR, is_broken
from bench.analysis.recovery import Array
from bench.analysis.rows import Measured
from bench.render.table import Table
from bench.report.sections import QUALITY, TableView
from bench.report.tables.columns import Naming

LARGEST = 30.0  # nats per token; beyond it the perplexity is too long to read, and from 710 on it is not a float

EXPLAINED = (
    "A window's excess is its loss minus full precision's, in nats per token. A window counts as broken if its excess"
    f" is more than {FAR:g} above the cell's median excess. If half of the windows or more are lost, none counts. A few"
    " broken windows decide a perplexity, and seeds then differ a lot by which windows broke."
    " `python benchmarks/first_token.py CELL` tests whether a window's first token is the cause."
)


def broken_windows_table(measured: Measured) -> Table:
    """A row per cell and text with broken windows: their numbers (from 1), the perplexity with and without."""
    params, results = measured.params, measured.results
    naming = Naming(params, None)
    body = []
    for row in measured.rows:
        reference = results.get(params.reference(row.keys[0]) or "")
        for result in row.results:
            if reference is None or reference.diverged or result.diverged:
                continue
            seed = str(params.cells[result.key].seed)
            for text, losses in result.window_losses.items():
                broken = is_broken(losses, reference.window_losses[text])
                if broken.any():
                    numbers = ", ".join(str(place + 1) for place in np.flatnonzero(broken))
                    values = map(_perplexity, (losses, losses[broken], losses[~broken]))
                    body.append([*naming.of(row), seed, text, f"no. {numbers} of {len(broken)}", *values])
    headers = [*naming.headers, "seed", "text", "broken windows", "perplexity", "of these", "of the others"]
    return Table(body, headers, left=len(naming.headers) + 2)


def _perplexity(losses: Array) -> str:
    mean = losses.mean()  # windows are of one length
    return f"{math.exp(mean):,.2f}" if mean < LARGEST else f"exp({mean:.0f})"


VIEW = TableView(QUALITY, broken_windows_table, lambda _: EXPLAINED, title="Windows that broke")
