"""What SW does, alone: a forest plot with an interval a row, a dot a seed, and the claimed range behind.

Where a plan pools arms, they are the last line, and the plan's bound is a grey band.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.compare import recovered_by
from bench.analysis.recovery import Recovery
from bench.analysis.rows import Measured, Row
from bench.published.claims import load_claims
from bench.report.plots.intervals import cut, draw_interval
from bench.report.plots.names import names
from bench.report.pooled import pooled_row
from bench.report.sections import EFFECT, PlotView
from bench.report.tables.answers import in_order, planned_bounds
from bench.report.tables.columns import CALLED
from bench.report.tables.sw_effect import compared_rows

CLAIMED = "accuracy"  # the measure that the paper's ranges are about


def plot_effect(measured: Measured) -> Figure | None:
    """Draw a panel for each measure in which some row has a share, and a line for each row with SW."""
    rows = compared_rows(measured)
    shown = [measure for measure in in_order(measured.params) if any(_has_share(row, measure) for row in rows)]
    if not shown:
        return None
    called, seeds = names(measured.run), [_by_seed(measured, row) for row in rows]
    lines = [called[row.keys] for row in rows]
    if whole := pooled_row(measured):
        rows, seeds, lines = [*rows, whole], [*seeds, []], [*lines, "pooled"]
    size = (2.5 + 3.5 * len(shown), 1.6 + 0.55 * len(rows))
    figure, panels = plt.subplots(1, len(shown), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for measure, axes in zip(shown, panels[0], strict=True):
        for line, (row, each) in enumerate(zip(rows, seeds, strict=True)):
            if measure == CLAIMED and row is not whole:
                _band(axes, line, row)
            _interval(axes, line, row, measure)
            _seeds(axes, line, each, measure)
        if bound := planned_bounds(measured.params).get(measure):
            axes.axvspan(-100 * bound, 100 * bound, color="gray", alpha=0.12, linewidth=0)
        cut(axes)
        axes.set(title=f"of lost {CALLED[measure]}", xlabel="recovered by SW, %")
    panels[0, 0].set_yticks(range(len(rows)), lines)
    panels[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle(f"Suite {measured.params.suite}: what SW recovers of what its base lost, with 95 % intervals")
    return figure


def _has_share(row: Row, measure: str) -> bool:
    return row.recovered is not None and row.recovered[measure].share is not None


def _interval(axes: Axes, line: int, row: Row, measure: str) -> None:
    assert row.recovered is not None
    share = row.recovered[measure].share
    if share is None:
        axes.annotate("n/a", (0.5, line), xycoords=("axes fraction", "data"), ha="center", color="gray", fontsize=8)
        return
    draw_interval(axes, line, share, 100, fmt="D", markersize=5, color="C0")


def _by_seed(measured: Measured, row: Row) -> list[dict[str, Recovery]]:
    """Return what each seed recovers by itself, where there are several."""
    each = [recovered_by(measured.params, measured.results, (key,)) for key in row.keys if len(row.keys) > 1]
    return [found for found in each if found]


def _seeds(axes: Axes, line: int, each: list[dict[str, Recovery]], measure: str) -> None:
    """Draw each seed's own share below the row's line."""
    points = [100 * share.point for found in each if (share := found[measure].share)]
    if each:
        axes.plot(points, [line + 0.25] * len(points), "o", markersize=3, color="gray", alpha=0.7)


def _band(axes: Axes, line: int, row: Row) -> None:
    """Draw the range that the paper claims for the method, over all of its models."""
    claims = [claim for claim in load_claims().claims.values() if claim.of == "sw"]
    ranges = [claim.range for claim in claims if claim.method == row.cell.method_name]
    if ranges:
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
        axes.barh(line, high - low, left=low, height=0.9, color="C2", alpha=0.15, linewidth=0)


VIEW = PlotView(
    EFFECT,
    plot_effect,
    "What SW recovers of what its base lost: diamonds with 95 % intervals, a dot for every seed. Behind the"
    " accuracy in green: the range that the paper claims for the method. In grey: a plan's bound",
)
