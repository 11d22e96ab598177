"""Does SW help? One word, from the interval, for every row with SW whose base has no SW."""

from __future__ import annotations

from bench.analysis.compare import measures
from bench.analysis.recovery import MIN_SEEDS, NOTHING_LOST, Recovery
from bench.analysis.rows import Measured, Row
from bench.render.table import Table
from bench.report.sections import EFFECT, TableView
from bench.report.tables.columns import CALLED, Naming, by_medians, seeds_compared, show_share

ORDER = ("log_perplexity", "divergence", "log_probability", "accuracy")  # the most telling first

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
    shown, body = measures_shown(measured), []
    for row in compared_rows(measured):
        assert row.recovered is not None
        found = [f"{effect(row.recovered[measure])}: {show_share(row.recovered, measure)}" for measure in shown]
        body.append([*naming.of(row), *found])
    headers = [*naming.headers, *(f"of lost {CALLED[measure]}, %" for measure in shown)]
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


def measures_shown(measured: Measured) -> list[str]:
    """Return the suite's measures, the most telling first."""
    return [measure for measure in ORDER if measure in measures(measured.params)]


def effect(recovered: Recovery) -> str:
    """Say what the interval of the share says; if there is no share because nothing was lost, that of the gain."""
    if recovered.withheld not in (None, NOTHING_LOST):
        return "open"
    interval = recovered.share or recovered.gained
    if interval.low <= 0 <= interval.high:
        return "open"
    if recovered.n_seeds < MIN_SEEDS:
        with_these = "with this seed" if recovered.n_seeds == 1 else "with these seeds"
        return f"{'better' if interval.low > 0 else 'worse'} {with_these}"
    return "helps" if interval.low > 0 else "hurts"


VIEW = TableView(EFFECT, sw_effect_table, lambda measured: EXPLAINED + by_medians(measured.rows))
