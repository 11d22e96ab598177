"""What every row recovers of what its base lost, and what it cost."""

from __future__ import annotations

from statistics import median

from bench.analysis.compare import measures
from bench.analysis.recovery import LEVEL, MIN_SEEDS
from bench.analysis.rows import Measured, Row
from bench.render.table import Table
from bench.report.sections import RECOVERED, TableView
from bench.report.tables.columns import CALLED, Naming, by_medians, seeds_compared, show_share

RESUMED = "*"
DTYPE_BITS = {"float32": "32", "float16": "16", "bfloat16": "16"}


def recovery_table(measured: Measured) -> Table:
    """A row per row: recovered shares with intervals, time, memory and stored bits."""
    naming, shown = Naming(measured.params, seeds_compared), measures(measured.params)
    body = []
    for row in measured.run:
        bits = row.results[0].bits_per_weight
        cells = [
            *(show_share(row.recovered, measure) if row.recovered else "" for measure in shown),
            _minutes(row),
            f"{max(result.peak_host_bytes for result in row.results) / 2**30:.2f}",
            f"{bits:.3f}" if bits else DTYPE_BITS[measured.params.protocol.dtype],
        ]
        body.append([*naming.of(row), row.base or "", *cells])
    shares_of = [f"of {CALLED[measure]}" for measure in shown]
    headers = [*naming.headers, "base", *shares_of, "minutes", "peak GiB", "bits/weight"]
    return Table(body, headers, left=len(naming.headers) + 1)


def _minutes(row: Row) -> str:
    """Return the median over cells that ran in one go, if there are any, and mark the row if not all did."""
    whole = [result.wall_seconds for result in row.results if not result.resumed]
    minutes = f"{median(whole or [result.wall_seconds for result in row.results]) / 60:.1f}"
    return minutes if len(whole) == len(row.results) else f"{minutes} {RESUMED}"


def what_a_share_is(measured: Measured) -> str:
    """Define the share and say what its interval covers."""
    over = "It is provisional: it covers items, but not the choice of the seed."
    if measured.params.several_seeds:
        over = (
            f"With {MIN_SEEDS} seeds or more it covers the choice of seeds too; with fewer it is provisional,"
            " and covers items alone."
        )
    return (
        "A share is (cell - base) / (FP - base), in %. FP is the full-precision model."
        f" The brackets hold its {LEVEL:.0%} interval (Fieller's, paired over items). {over}"
        " 'n/a' means that there is no share: the base has not clearly lost anything on these items, or too few items"
        " differ from the base. The difference from the base is shown instead, with its interval."
        f" Minutes are the median over a row's cells that ran in one go; {RESUMED} marks a row of which a cell was"
        " stopped and continued. Bits are those stored per weight of the quantized linears; embeddings and norms are"
        " not quantized and are not counted." + by_medians(measured.rows)
    )


VIEW = TableView(RECOVERED, recovery_table, what_a_share_is)
