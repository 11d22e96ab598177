"""SW beside its placebos: what SW does beyond what a placebo does, for every arm of the plan that has some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.analysis.placebo import beyond_placebo
from bench.analysis.rows import Measured, Row
from bench.config.plan import row_of
from bench.render.table import Table
from bench.report.pooled import pooled_row
from bench.report.sections import EFFECT, TableView
from bench.report.tables.answers import answers, in_order
from bench.report.tables.columns import CALLED, Naming, by_medians, seeds_compared

EXPLAINED = (
    "A share is (cell - placebo) / (FP - base), in %, seed by seed. A placebo changes the training as SW does, but"
    " aligns nothing, so what SW does by itself is what it does beyond that. The words are those of the table above."
)


def sw_placebo_table(measured: Measured) -> Table:
    """A line for each planned arm and each of its placebos, and for the pooled ones."""
    params = measured.params
    naming = Naming(params, seeds_compared, always=True)
    body = [
        [*naming.of(row), placebo, *answers(params, row.recovered, planned=True)]
        for row, placebo in _beside(measured)
        if row.recovered
    ]
    headers = [*naming.headers, "placebo", *(f"of lost {CALLED[measure]}, %" for measure in in_order(params))]
    return Table(body, headers, left=len(naming.headers) + 1)


def _beside(measured: Measured) -> Iterator[tuple[Row, str]]:
    """Yield each arm's row, as compared with a placebo, and the name of the placebo's row; at last the pooled ones."""
    params, plan = measured.params, measured.params.plan
    if plan is None:
        return
    arms = plan.arms
    for row in measured.rows:
        for placebo in arms.get(row_of(params.suite, row.cell, row.keys[0]), ()):
            beyond = beyond_placebo(params, measured.results, row.keys, placebo)
            if beyond:
                yield replace(row, recovered=beyond), placebo
    for place, placebos in enumerate(zip(*(arms[arm] for arm in plan.pooled), strict=False)):
        if whole := pooled_row(measured, place):
            yield whole, ", ".join(placebos)


def explained(measured: Measured) -> str:
    return EXPLAINED + by_medians(row for row, _ in _beside(measured))


VIEW = TableView(EFFECT, sw_placebo_table, explained, title="SW beside its placebos")
