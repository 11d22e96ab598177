"""What SW does, alone: a forest plot with an interval a row, a dot a seed, and the claimed range behind.

Below a row that a plan names stands what it recovers beyond each of its placebos. The arms that the plan pools come
last, and its bound is a grey band.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.compare import recovered_by
from bench.analysis.placebo import beyond_placebo
from bench.analysis.recovery import Recovery
from bench.analysis.rows import Measured, Row
from bench.published.claims import load_claims
from bench.report.arms import beside_placebos
from bench.report.plots.intervals import cut, draw_interval
from bench.report.plots.names import legend, names
from bench.report.pooled import pooled_row
from bench.report.sections import EFFECT, PlotView
from bench.report.tables.answers import in_order, planned_bounds
from bench.report.tables.columns import CALLED
from bench.report.tables.sw_effect import compared_rows

Recoveries = dict[str, Recovery]  # by measure
Style = dict[str, Any]

CLAIMED = "accuracy"  # the measure that the paper's ranges are about


@dataclass(frozen=True)
class Line:
    """A line of the plot: what a row recovers beside its base or beside a placebo, and what each of its seeds does."""

    label: str
    recovered: Recoveries
    seeds: list[Recoveries]
    method: str | None = None  # whose claimed range stands behind
    color: str = "C0"


def plot_effect(measured: Measured) -> Figure | None:
    """Draw a panel for each measure in which some line has a share, and lines for each row with SW."""
    lines = list(_lines(measured))
    shown = [m for m in in_order(measured.params) if any(line.recovered[m].share for line in lines)]
    if not shown:
        return None
    size = (2.5 + 3.5 * len(shown), 1.6 + 0.55 * len(lines))
    figure, panels = plt.subplots(1, len(shown), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for measure, axes in zip(shown, panels[0], strict=True):
        for height, line in enumerate(lines):
            _draw(axes, height, line, measure)
        if bound := planned_bounds(measured.params).get(measure):
            axes.axvspan(-100 * bound, 100 * bound, color="gray", alpha=0.12, linewidth=0, label="bound of the plan")
        cut(axes)
        axes.set(title=f"of lost {CALLED[measure]}", xlabel="recovered by SW, %")
    panels[0, 0].set_yticks(range(len(lines)), [line.label for line in lines])
    panels[0, 0].set_ylim(len(lines) - 0.5, -0.5)
    if handles := legend(panels[0]):
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=9)
    figure.suptitle(f"Suite {measured.params.suite}: what SW recovers of what its base lost, with 95 % intervals")
    return figure


def _lines(measured: Measured) -> Iterator[Line]:
    """Yield a line for each row with SW, and one for the arms that a plan pools; each is followed by its placebos."""
    params, results, called = measured.params, measured.results, names(measured.run)
    beside: dict[str, list[Line]] = {}
    whole = pooled_row(measured)
    for row, placebo in beside_placebos(measured):
        assert row.recovered is not None
        of_one = whole is None or row.name != whole.name
        each = [beyond_placebo(params, results, (key,), placebo) for key in _several(row) if of_one]
        line = Line(f"beyond {placebo}", row.recovered, [found for found in each if found], color="C1")
        beside.setdefault(row.name, []).append(line)
    for row in compared_rows(measured):
        assert row.recovered is not None
        each = [recovered_by(params, results, (key,)) for key in _several(row)]
        yield Line(called[row.keys], row.recovered, [found for found in each if found], row.cell.method_name)
        yield from beside.get(row.name, ())
    if whole and whole.recovered:
        yield Line("pooled", whole.recovered, [])
        yield from beside.get(whole.name, ())


def _several(row: Row) -> tuple[str, ...]:
    """Return a row's cells where there are several: one alone has no seeds to show."""
    return row.keys if len(row.keys) > 1 else ()


def _claimed(method: str) -> tuple[float, float] | None:
    """Return the range that the paper claims for a method, over all of its models."""
    claims = [claim for claim in load_claims().claims.values() if claim.of == "sw" and claim.method == method]
    return (min(c.range[0] for c in claims), max(c.range[1] for c in claims)) if claims else None


def _draw(axes: Axes, height: int, line: Line, measure: str) -> None:
    """Draw a line's interval, its seeds' own shares below, and the claimed range behind."""
    if line.method and measure == CLAIMED and (claimed := _claimed(line.method)):
        low, high = claimed
        style: Style = {"color": "C2", "alpha": 0.15, "linewidth": 0, "label": "what the paper claims"}
        axes.barh(height, high - low, left=low, height=0.9, **style)
    if not (share := line.recovered[measure].share):
        axes.annotate("n/a", (0.5, height), xycoords=("axes fraction", "data"), ha="center", color="gray", fontsize=8)
        return
    draw_interval(axes, height, share, 100, fmt="D", markersize=5, color=line.color)
    points = [100 * share.point for found in line.seeds if (share := found[measure].share)]
    if points:
        style = {"markersize": 3, "color": "gray", "alpha": 0.7, "label": "a seed that has a share by itself"}
        axes.plot(points, [height + 0.25] * len(points), "o", **style)


VIEW = PlotView(
    EFFECT,
    plot_effect,
    "What SW recovers of what its base lost: diamonds with 95 % intervals, and dots for single seeds",
)
