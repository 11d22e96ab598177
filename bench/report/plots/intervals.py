"""A point with its interval on a line of a panel, and how far a panel reaches."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes

from bench.analysis.recovery import Interval

WIDEST = 150.0  # percent; a wider interval would squeeze the others


def draw_interval(axes: Axes, line: int, interval: Interval, factor: float, **style: Any) -> None:
    """Draw an interval, times `factor`, at the height `line`; an arrow where it goes on beyond ± `WIDEST`."""
    ends = [[factor * (interval.point - interval.low)], [factor * (interval.high - interval.point)]]
    axes.errorbar(factor * interval.point, line, xerr=ends, capsize=4, **style)
    for end, arrow in ((factor * interval.low, "<"), (factor * interval.high, ">")):
        if abs(end) > WIDEST:
            axes.plot(math.copysign(WIDEST, end), line, arrow, color=style.get("color"), markersize=6, clip_on=False)


def cut(axes: Axes) -> None:
    """Mark 0, and let the panel end at ± `WIDEST`."""
    axes.axvline(0, color="black", linewidth=0.8)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -WIDEST), min(high, WIDEST))
