"""The ends of an interval that is defined by a test: all values that the test does not reject."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import brentq

FARTHEST = 1e6  # a value beyond this is as good as unbounded


def around(point: float, excess: Callable[[float], float]) -> tuple[float, float] | None:
    """Return where `excess` rises above 0 first on either side of a point; None if the interval is unbounded."""
    low, high = _crossing(excess, point, -1.0), _crossing(excess, point, 1.0)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _crossing(excess: Callable[[float], float], start: float, direction: float) -> float:
    """Return where `excess` rises above 0 first, going from `start` in a direction; unbounded gives infinity."""
    step = 1e-3
    while excess(start + direction * step) <= 0:
        step *= 2
        if step > FARTHEST:
            return direction * math.inf
    inner = start + direction * (step / 2 if step > 1e-3 else 0.0)
    return float(brentq(excess, *sorted((inner, start + direction * step)))) if excess(inner) < 0 else inner
