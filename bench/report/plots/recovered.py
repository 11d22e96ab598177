"""The recovered share of every comparison with its interval."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.compare import measures
from bench.analysis.recovery import Recovery
from bench.analysis.rows import Measured, Row
from bench.report.plots.intervals import WIDEST, cut, draw_interval
from bench.report.plots.names import names
from bench.report.sections import RECOVERED, PlotView
from bench.report.tables.columns import CALLED

COLORS = {name: f"C{place}" for place, name in enumerate(CALLED)}


def plot_recovered(measured: Measured) -> Figure | None:
    """Draw one panel per measure that has a share; rows that are compared with RTN have panels of their own.

    RTN loses much more than a trained row, so that shares of it would squeeze the others.
    """
    compared = [row for row in measured.run if row.recovered]
    groups = [[row for row in compared if _is_over_rtn(measured, row) is over] for over in (False, True)]
    groups = [rows for rows in groups if rows]
    if not groups:
        return None
    called = names(measured.run)
    shown = [_with_a_share(rows, measures(measured.params)) for rows in groups]
    heights = [0.6 * len(rows) + 0.8 for rows in groups]
    size = (3 + 3.5 * max(map(len, shown)), sum(heights) + 0.7)
    figure = plt.figure(figsize=size, layout="constrained")
    parts = np.atleast_1d(figure.subfigures(len(groups), 1, height_ratios=heights))
    for part, rows, own in zip(parts, groups, shown, strict=True):
        panels = part.subplots(1, len(own), squeeze=False, sharey=True)[0]
        for measure, axes in zip(own, panels, strict=True):
            _plot_measure(axes, rows, measure)
        panels[0].set_yticks(range(len(rows)), [f"{called[row.keys]}\nvs {row.base}" for row in rows])
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
    end = "" if not any(_reaches_beyond(row) for row in compared) else f"; axes end at {WIDEST:.0f} %"
    figure.suptitle(f"Suite {measured.params.suite}: recovered share of what the base lost, with 95 % intervals{end}")
    return figure


def _with_a_share(rows: list[Row], shown: tuple[str, ...]) -> list[str]:
    """Return the measures in which some row has a share; the first one if there is none."""
    found = [m for m in shown if any(row.recovered and row.recovered[m].share for row in rows)]
    return found or list(shown[:1])


def _plot_measure(axes: Axes, rows: list[Row], measure: str) -> None:
    for line, row in enumerate(rows):
        assert row.recovered is not None
        _plot_share(axes, line, row.recovered[measure], COLORS[measure])
    cut(axes)
    axes.set(title=f"of lost {CALLED[measure]}", xlabel="%")


def _is_over_rtn(measured: Measured, row: Row) -> bool:
    return measured.params.cells[measured.params.report.baselines[row.keys[0]]].method_name == "rtn"


def _reaches_beyond(row: Row) -> bool:
    shares = [recovered.share for recovered in (row.recovered or {}).values() if recovered.share]
    return any(100 * max(-share.low, share.high) > WIDEST for share in shares)


def _plot_share(axes: Axes, line: int, recovered: Recovery, color: str) -> None:
    share = recovered.share
    if share is None:
        place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
        place["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        note = axes.text(0.5, line, f"n/a: {recovered.withheld}", fontsize=8, color="gray", **place)
        note.set_in_layout(False)
        return
    draw_interval(axes, line, share, 100, fmt="o", color=color)


VIEW = PlotView(RECOVERED, plot_recovered, "Recovered share of every comparison, with its interval")
