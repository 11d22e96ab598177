"""SW beside its placebos: what SW does beyond what a placebo does, for every arm of the plan that has some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.analysis.placebo import beyond_placebo
from bench.analysis.rows import Measured, Row
from bench.config.plan import row_of
from bench.render.table import Table
from bench.report.answers import answer, in_order
from bench.report.sections import EFFECT, TableView
from bench.report.tables.columns import CALLED, Naming, by_medians, seeds_compared

EXPLAINED = (
    "A share is (cell - placebo) / (FP - base), in %, seed by seed. A placebo changes the training as SW does, but"
    " aligns nothing, so what SW does by itself is what it does beyond that. The words are those of the table above."
)


def sw_placebo_table(measured: Measured) -> Table:
    """A line for each planned arm and each of its placebos."""
    params = measured.params
    naming, shown = Naming(params, seeds_compared, always=True), in_order(params)
    body = [
        [*naming.of(row), placebo, *(answer(params, row, measure) for measure in shown)]
        for row, placebo in _beside(measured)
    ]
    headers = [*naming.headers, "placebo", *(f"of lost {CALLED[measure]}, %" for measure in shown)]
    return Table(body, headers, left=len(naming.headers) + 1)


def _beside(measured: Measured) -> Iterator[tuple[Row, str]]:
    """Yield each arm's row, as compared with a placebo, and the placebo's row."""
    params = measured.params
    arms = params.plan.arms if params.plan else {}
    for row in measured.rows:
        for placebo in arms.get(row_of(params.suite, row.cell, row.keys[0]), ()):
            beyond = beyond_placebo(params, measured.results, row.keys, placebo)
            if beyond:
                yield replace(row, recovered=beyond), placebo


def explained(measured: Measured) -> str:
    return EXPLAINED + by_medians(row for row, _ in _beside(measured))


VIEW = TableView(EFFECT, sw_placebo_table, explained, title="SW beside its placebos")
