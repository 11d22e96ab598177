"""Does SW help? A plain answer for every row with SW whose base is without, by the intervals."""

from __future__ import annotations

from bench.config import Params
from bench.rows import Row
from bench.statistics import MIN_SEEDS, NOTHING_LOST, Recovery
from bench.table import Table
from bench.tables import Naming, seeds_compared, show_share

ORDER = ("log_perplexity", "margin", "accuracy")  # what tells most first

EXPLAINED = (
    "By the interval of the recovered share, or of the gain where the base lost nothing clearly: SW *helps* where that"
    " lies above 0, *hurts* where it lies below, and the answer is *open* where it holds 0, or where too few items"
    f" differ. With fewer than {MIN_SEEDS} seeds it is better or worse with these only: how far two trainings drift"
    " apart by chance is not in the interval."
)


def answers(params: Params, rows: list[Row]) -> Table:
    """A row per row with SW that can be compared with its base without: what SW does, in each measure."""
    naming = Naming(params, seeds_compared, always=True)
    body = []
    for row in rows:
        base = params.report.baselines.get(row.keys[0])
        if row.recovered and base and row.cell.has_sw and not params.cells[base].has_sw:
            found = [f"{answer(row.recovered[measure])}: {show_share(row.recovered, measure)}" for measure in ORDER]
            body.append([*naming.of(row), *found])
    headers = [*naming.headers, *(f"of lost {measure.replace('_', '-')}, %" for measure in ORDER)]
    return Table(body, headers, left=len(naming.headers))


def answer(recovered: Recovery) -> str:
    """Say what the interval says; of what was gained where the base lost nothing that there could be a share of."""
    if recovered.withheld not in (None, NOTHING_LOST):
        return "open"
    interval = recovered.share or recovered.gained
    if interval.low <= 0 <= interval.high:
        return "open"
    if recovered.n_seeds < MIN_SEEDS:
        with_these = "with this seed" if recovered.n_seeds == 1 else "with these seeds"
        return f"{'better' if interval.low > 0 else 'worse'} {with_these}"
    return "helps" if interval.low > 0 else "hurts"
