"""Does SW help? A few words, from the interval, for every row with SW whose base has no SW."""

from __future__ import annotations

from bench.analysis.recovery import MIN_SEEDS
from bench.analysis.rows import Measured, Row
from bench.config.params import Params
from bench.config.plan import row_of
from bench.render.table import Table
from bench.report.pooled import pooled_row
from bench.report.sections import EFFECT, TableView
from bench.report.tables.answers import answers, bounded, in_order
from bench.report.tables.columns import CALLED, Naming, by_medians, seeds_compared

EXPLAINED = (
    "The word follows from the interval of the recovered share, or of the gain if the base lost nothing clearly."
    " SW *helps* where the interval lies above 0. It *hurts* where the interval lies below. The question is *open*"
    " where the interval holds 0, or where too few items differ."
    f" With fewer than {MIN_SEEDS} seeds the word is only *better* or *worse with these seeds*, because the interval"
    " does not cover how far two trainings drift apart by chance."
)


def sw_effect_table(measured: Measured) -> Table:
    """A line for each row with SW that can be compared with a base without SW: what SW does, in each measure."""
    params = measured.params
    naming = Naming(params, seeds_compared, always=True)
    body = []
    for row in compared_rows(measured):
        assert row.recovered is not None
        body.append([*naming.of(row), *answers(params, row.recovered, is_arm(params, row))])
    whole = pooled_row(measured)
    if whole and whole.recovered:
        body.append([*naming.of(whole), *answers(params, whole.recovered, planned=True)])
    headers = [*naming.headers, *(f"of lost {CALLED[measure]}, %" for measure in in_order(params))]
    return Table(body, headers, left=len(naming.headers))


def compared_rows(measured: Measured) -> list[Row]:
    """Return the rows with SW that can be compared with a base without SW."""
    params = measured.params
    bases = {row.keys: params.report.baselines.get(row.keys[0]) for row in measured.rows if row.cell.has_sw}
    return [
        row
        for row in measured.rows
        if row.recovered and (base := bases.get(row.keys)) and not params.cells[base].has_sw
    ]


def is_arm(params: Params, row: Row) -> bool:
    return params.plan is not None and row_of(params.suite, row.cell, row.keys[0]) in params.plan.arms


def explained(measured: Measured) -> str:
    return EXPLAINED + bounded(measured.params) + by_medians(measured.rows)


VIEW = TableView(EFFECT, sw_effect_table, explained)
