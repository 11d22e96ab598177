"""The word for what SW does follows from the interval, and from how many seeds there are."""

from __future__ import annotations

import pytest

from bench.analysis.recovery import NOTHING_LOST, Interval, Recovery
from bench.report.tables.answers import effect


@pytest.mark.parametrize(
    ("low", "high", "n_seeds", "said"),
    [
        (0.01, 0.2, 5, "helps"),
        (-0.2, -0.01, 5, "hurts"),
        (-0.1, 0.1, 5, "open"),
        (0.0, 0.0, 5, "open"),
        (0.01, 0.2, 4, "better with these seeds"),
        (-0.2, -0.01, 1, "worse with this seed"),
    ],
)
def test_effect_is_what_the_interval_says(low: float, high: float, n_seeds: int, said: str) -> None:
    share, other = Interval((low + high) / 2, low, high), Interval(0.0, -1.0, 1.0)
    assert effect(Recovery(other, other, share, None, 10, n_seeds)) == said
    assert effect(Recovery(other, share, None, NOTHING_LOST, 10, n_seeds)) == said, "of what was gained"
    assert effect(Recovery(other, share, None, "too few items differ (4)", 10, n_seeds)) == "open"


@pytest.mark.parametrize(
    ("low", "high", "n_seeds", "said"),
    [
        (-0.01, 0.019, 5, "no effect of practical size"),
        (0.005, 0.015, 5, "no effect of practical size"),
        (0.0, 0.0, 5, "no effect of practical size"),
        (-0.01, 0.02, 5, "open"),
        (0.005, 0.025, 5, "helps"),
        (-0.025, -0.005, 5, "hurts"),
        (-0.01, 0.01, 4, "open"),
        (0.005, 0.015, 4, "better with these seeds"),
    ],
)
def test_bound_comes_first_and_needs_seeds(low: float, high: float, n_seeds: int, said: str) -> None:
    share, other = Interval((low + high) / 2, low, high), Interval(0.0, -1.0, 1.0)
    assert effect(Recovery(other, other, share, None, 10, n_seeds), 0.02) == said
    unshared = effect(Recovery(other, share, None, NOTHING_LOST, 10, n_seeds), 0.02)
    assert unshared == effect(Recovery(other, share, None, NOTHING_LOST, 10, n_seeds)), "a bound is one of shares"
    assert effect(Recovery(other, other, share, "too few items differ (4)", 10, n_seeds), 0.02) == "open"
