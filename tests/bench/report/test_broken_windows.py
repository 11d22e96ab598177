"""Windows that broke are found, and shown with what the perplexity is without them."""

from __future__ import annotations

import math

import numpy as np

from bench.analysis.broken_windows import is_broken
from bench.analysis.results import CellResult
from bench.analysis.rows import Measured, Row
from bench.config.params import Params
from bench.report.tables.broken_windows import _perplexity, broken_windows_table
from tests.support import tiny_suite

WHOLE = np.array([2.0, 3.0, 2.5, 2.0])


def test_window_is_broken_by_its_distance_from_full_precision() -> None:
    """A window that is hard for full precision too is not; nor are all of a cell that is bad everywhere."""
    lost = np.array([0.5, 0.6, 1.7, 0.5])
    assert is_broken(WHOLE + lost, WHOLE).tolist() == [False, False, True, False]
    assert not is_broken(WHOLE + 6, WHOLE).any()
    assert not is_broken(WHOLE, WHOLE).any()


def test_loss_whose_perplexity_is_no_float_is_shown() -> None:
    """One such window of eight leaves a mean that is still finite, so the cell has not diverged."""
    assert _perplexity(np.full(1, 800.0)) == "exp(800)" and _perplexity(np.full(1, 2.0)) == "7.39"


def test_table_names_the_window_and_both_perplexities() -> None:
    params = Params.model_validate(tiny_suite.params())
    reference, key = "tiny-fp", "tiny-omniquant"
    losses = np.full(4, 3.0)
    losses[1] = 9.0

    def row(key: str, losses: np.ndarray) -> Row:
        result = CellResult(key, {"diverged": False}, [], {"perplexity": losses}, [], None, 1.0, 1, {})
        return Row((key,), key, params.cells[key], key, None, [result], None, {})

    rows = [row(reference, np.full(4, 2.0)), row(key, losses)]
    results = {row.keys[0]: row.results[0] for row in rows}
    table = broken_windows_table(Measured(params, results, rows))
    seed = str(params.cells[key].seed)
    others = [f"{math.exp(value):,.2f}" for value in (4.5, 9.0, 3.0)]
    assert [line[-6:] for line in table.rows] == [[seed, "perplexity", "no. 2 of 4", *others]]
    alone = Measured(params, {key: results[key]}, rows)
    assert broken_windows_table(alone).rows == [], "without full precision nothing is known"
