"""SW beside its placebos: what SW does beyond what a placebo does, for every arm of the plan that has some."""

from __future__ import annotations

from bench.analysis.rows import Measured
from bench.render.table import Table
from bench.report.arms import beside_placebos
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
        for row, placebo in beside_placebos(measured)
        if row.recovered
    ]
    headers = [*naming.headers, "placebo", *(f"of lost {CALLED[measure]}, %" for measure in in_order(params))]
    return Table(body, headers, left=len(naming.headers) + 1)


def explained(measured: Measured) -> str:
    return EXPLAINED + by_medians(row for row, _ in beside_placebos(measured))


VIEW = TableView(EFFECT, sw_placebo_table, explained, title="SW beside its placebos")
