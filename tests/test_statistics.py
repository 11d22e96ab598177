"""The recovered share and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from bench.statistics import Interval, recovery, resampled_means, segment_means


def columns(reference: list[float], base: list[float], treated: list[float]) -> np.ndarray:
    return np.stack([np.array(reference), np.array(base), np.array(treated)], axis=1)


@pytest.mark.parametrize(
    ("reference", "base", "treated", "share"),
    [(64.85, 55.91, 56.88, 0.1085), (67.81, 60.91, 61.43, 0.0754)],
)
def test_formula_gives_the_published_shares(reference: float, base: float, treated: float, share: float) -> None:
    """The averages of the authors' earlier paper (ULB-SAPR) and the shares that its abstract claims."""
    measured = recovery([columns([reference] * 4, [base] * 4, [treated] * 4)], 100, "published").share
    assert measured is not None
    assert measured.point == pytest.approx(share, abs=5e-5)


def test_constant_items_have_no_spread() -> None:
    measured = recovery([columns([1.0] * 5, [0.0] * 5, [0.5] * 5)], 200, "constant")
    assert measured.share == Interval(0.5, 0.5, 0.5)


def test_strata_weigh_the_same_whatever_their_size() -> None:
    """The mean over tasks is unweighted: a task with many items counts no more than one with few."""
    large, small = columns([1.0] * 90, [0.0] * 90, [0.0] * 90), columns([1.0] * 10, [0.0] * 10, [1.0] * 10)
    measured = recovery([large, small], 100, "strata").share
    assert measured is not None and measured.point == pytest.approx(0.5)


def test_share_is_withheld_where_nothing_is_clearly_lost() -> None:
    draw = np.random.default_rng(0)
    reference = draw.integers(0, 2, 100).astype(float)
    base = draw.permutation(reference)
    measured = recovery([np.stack([reference, base, base], axis=1)], 500, "nothing lost")
    assert measured.share is None
    assert measured.lost.low <= 0 <= measured.lost.high


def test_pairing_makes_the_interval_narrower_than_independent_items_would() -> None:
    """Reference, base and treated agree on most items; resampling them together must use that."""
    draw = np.random.default_rng(1)
    reference = draw.normal(size=400)
    base = reference - 1 + 0.1 * draw.normal(size=400)
    treated = base + 0.2 + 0.1 * draw.normal(size=400)
    paired = recovery([np.stack([reference, base, treated], axis=1)], 500, "paired").gained
    unpaired = recovery([np.stack([reference, base, draw.permutation(treated)], axis=1)], 500, "unpaired").gained
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 5


def test_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    """A bootstrap over 300 items of known mean: about 95 of 100 intervals hold it. Seeded, so it cannot flicker."""
    draw = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        strata = [draw.normal(0.3, 1.0, size=(150, 1)), draw.normal(0.1, 1.0, size=(150, 1))]
        interval = Interval.of(0.0, resampled_means(strata, 400, f"trial {trial}")[:, 0])
        hits += interval.low <= 0.2 <= interval.high
    assert 180 <= hits <= 199


def test_draws_depend_on_the_key_alone() -> None:
    strata = [np.random.default_rng(3).normal(size=(20, 1))]
    first, again, other = (resampled_means(strata, 50, key) for key in ("a", "a", "b"))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_segments_are_runs_of_tokens() -> None:
    losses = np.arange(14, dtype=float).reshape(2, 7)
    assert segment_means(losses, 3).tolist() == [1.5, 5.0, 8.5, 12.0]
