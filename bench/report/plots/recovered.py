"""The recovered share of every comparison with its interval."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.compare import measures
from bench.analysis.recovery import Recovery
from bench.analysis.rows import Measured, Row
from bench.report.plots.names import names
from bench.report.sections import RECOVERED, PlotView
from bench.report.tables.columns import CALLED

WIDEST = 150.0  # percent; a wider interval would squeeze the others


def plot_recovered(measured: Measured) -> Figure | None:
    """Draw one panel per measure, each on its own scale."""
    rows = measured.run
    compared = [row for row in rows if row.recovered]
    if not compared:
        return None
    called = names(rows)
    height = 0.6 * len(compared) + 1.5
    shown = measures(measured.params)
    figure, panels = plt.subplots(1, len(shown), figsize=(3.7 * len(shown), height), sharey=True, layout="constrained")
    for place, (measure, axes) in enumerate(zip(shown, panels, strict=True)):
        for line, row in enumerate(compared):
            assert row.recovered is not None
            _plot_share(axes, line, row.recovered[measure], f"C{place}")
        axes.axvline(0, color="black", linewidth=0.8)
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, -WIDEST), min(high, WIDEST))
        axes.set(title=f"of lost {CALLED[measure]}", xlabel="%")
    cut = "" if not any(_reaches_beyond(row) for row in compared) else f"; axes end at {WIDEST:.0f} %"
    panels[0].set_yticks(range(len(compared)), [f"{called[row.keys]}\nvs {row.base}" for row in compared])
    panels[0].set_ylim(len(compared) - 0.5, -0.5)
    figure.suptitle(f"Suite {measured.params.suite}: recovered share of what the base lost, with 95 % intervals{cut}")
    return figure


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
    ends = [[100 * (share.point - share.low)], [100 * (share.high - share.point)]]
    axes.errorbar(100 * share.point, line, xerr=ends, fmt="o", capsize=4, color=color)


VIEW = PlotView(RECOVERED, plot_recovered, "Recovered share of every comparison, with its interval")
