"""The recovered share, its interval over items and seeds, and what is withheld."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.analysis.recovery import NOTHING_LOST, Interval, McNemar, Stratum, mcnemar, mean_interval, recovery
from benchmarks.coverage import covered


def one_seed(reference: np.ndarray, base: np.ndarray, treated: np.ndarray) -> Stratum:
    return Stratum(np.asarray(reference), np.asarray(base)[None], np.asarray(treated)[None])


@pytest.mark.parametrize(
    ("reference", "base", "treated", "share"),
    [(64.85, 55.91, 56.88, 0.1085), (67.81, 60.91, 61.43, 0.0754)],
)
def test_formula_gives_the_published_shares(reference: float, base: float, treated: float, share: float) -> None:
    """The averages of the authors' earlier paper (ULB-SAPR) and the shares that its abstract claims."""
    items = [np.full(20, value) for value in (reference, base, treated)]
    measured = recovery([one_seed(*items)]).share
    assert measured is not None
    assert measured.point == pytest.approx(share, abs=5e-5)


def test_constant_items_have_no_spread() -> None:
    measured = recovery([one_seed(np.ones(20), np.zeros(20), np.full(20, 0.5))])
    assert measured.share == Interval(0.5, 0.5, 0.5) and measured.n_items == 20 and measured.n_seeds == 1


def test_strata_weigh_the_same_whatever_their_size() -> None:
    """The mean over tasks is unweighted: a task with many items counts no more than one with few."""
    large, small = one_seed(np.ones(90), np.zeros(90), np.zeros(90)), one_seed(np.ones(10), np.zeros(10), np.ones(10))
    measured = recovery([large, small]).share
    assert measured is not None and measured.point == pytest.approx(0.5)


def test_share_is_withheld_where_nothing_is_clearly_lost() -> None:
    draw = np.random.default_rng(0)
    reference = draw.integers(0, 2, 100).astype(float)
    measured = recovery([one_seed(reference, draw.permutation(reference), draw.permutation(reference))])
    assert measured.share is None and measured.withheld == NOTHING_LOST
    assert measured.lost.low <= 0 <= measured.lost.high
    gain = recovery([one_seed(np.zeros(50), np.ones(50), np.zeros(50))])
    assert gain.share is None, "a base above full precision lost nothing"


def test_share_is_withheld_where_too_few_items_differ() -> None:
    """One answer of 250 that changed tells nothing of how many would change among others."""
    reference, base = np.ones(250), np.tile([1.0, 0.0], 125)
    treated = base.copy()
    treated[1] = 1.0
    measured = recovery([one_seed(reference, base, treated)])
    assert measured.share is None and measured.withheld == "too few items differ (1)"
    assert measured.gained.point == pytest.approx(1 / 250)


def test_too_few_items_come_before_nothing_lost() -> None:
    """A gain on few items decides nothing either, also where the base is as good as full precision."""
    reference = np.ones(250)
    treated = np.where(np.arange(250) < 6, 2.0, 1.0)
    five = Stratum(reference, np.tile(reference, (5, 1)), np.tile(treated, (5, 1)))
    assert recovery([five]).withheld == "too few items differ (6)"
    alone = recovery([one_seed(np.ones(1), np.ones(1), np.full(1, 1.2))] * 5)
    assert alone.withheld == "a task or text of one item" and alone.gained.low == alone.gained.high


def test_few_items_are_enough_where_all_differ() -> None:
    """Eight windows of text have eight measured differences; one has no variance."""
    lost, gained = np.array([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.0, 1.0]), np.linspace(0.2, 0.3, 8)
    measured = recovery([one_seed(np.zeros(8), -lost, gained - lost)])
    assert measured.withheld is None and measured.share is not None
    assert measured.share.low < measured.gained.point < measured.share.high
    alone = recovery([one_seed(np.zeros(1), -lost[:1], gained[:1] - lost[:1])])
    assert alone.share is None and alone.withheld == "a task or text of one item"


def test_one_stratum_of_one_seed_is_the_paired_t_interval() -> None:
    draw = np.random.default_rng(1)
    reference, base = draw.normal(1.0, 0.3, 40), draw.normal(0.0, 0.3, 40)
    treated = base + draw.normal(0.2, 0.1, 40)
    measured = recovery([one_seed(reference, base, treated)])
    wanted = stats.ttest_rel(treated, base).confidence_interval(0.95)
    assert (measured.gained.low, measured.gained.high) == pytest.approx((wanted.low, wanted.high))


def test_share_has_fiellers_interval() -> None:
    """In closed form for one stratum and one seed: the roots of (g - r l)^2 = t^2 var(g - r l)."""
    draw = np.random.default_rng(2)
    lost = draw.normal(1.0, 0.8, 60)
    gained = 0.3 * lost + draw.normal(0.0, 0.4, 60)
    measured = recovery([one_seed(lost, np.zeros(60), gained)]).share
    (vgg, vgl), (_, vll) = np.cov(gained, lost) / 60
    t2 = stats.t.ppf(0.975, 59) ** 2
    roots = np.roots(
        [lost.mean() ** 2 - t2 * vll, -2 * (gained.mean() * lost.mean() - t2 * vgl), gained.mean() ** 2 - t2 * vgg]
    )
    assert measured is not None
    assert (measured.low, measured.high) == pytest.approx(tuple(sorted(roots)), abs=1e-9)


def test_many_items_leave_the_t_interval_over_seeds() -> None:
    """Where items decide nothing, five seeds' means are five numbers."""
    shifts = np.array([0.1, 0.3, 0.2, 0.5, 0.15])
    base, treated = np.zeros((5, 1000)), np.tile(shifts[:, None], (1, 1000))
    measured = recovery([Stratum(np.ones(1000), base, treated)])
    wanted = stats.t.interval(0.95, 4, shifts.mean(), stats.sem(shifts))
    assert (measured.gained.low, measured.gained.high) == pytest.approx(wanted)
    assert measured.share is not None and (measured.share.low, measured.share.high) == pytest.approx(wanted)


def test_below_five_seeds_the_interval_is_that_over_items() -> None:
    draw = np.random.default_rng(3)
    base, treated = draw.normal(size=(4, 50)), draw.normal(0.5, 1.0, (4, 50))
    measured = recovery([Stratum(draw.normal(3.0, 1.0, 50), base, treated)])
    wanted = stats.t.interval(0.95, 49, (treated - base).mean(), stats.sem((treated - base).mean(axis=0)))
    assert measured.n_seeds == 4 and (measured.gained.low, measured.gained.high) == pytest.approx(wanted)


def test_order_of_items_and_seeds_does_not_matter() -> None:
    draw = np.random.default_rng(4)
    reference, base, treated = draw.normal(3.0, 1.0, 80), draw.normal(size=(5, 80)), draw.normal(0.4, 1.0, (5, 80))
    items, seeds = draw.permutation(80), draw.permutation(5)
    one = recovery([Stratum(reference, base, treated)])
    other = recovery([Stratum(reference[items], base[seeds][:, items], treated[seeds][:, items])])
    assert one.share is not None and other.share is not None
    assert (one.share.low, one.share.high) == pytest.approx((other.share.low, other.share.high))


@pytest.mark.slow
@pytest.mark.parametrize(("gap", "seed_sd"), [(3, 0.2), (9, 1.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(gap: float, seed_sd: float) -> None:
    """A small version of benchmarks/coverage.py, seeded: of 200 intervals, 184 to 197 (two standard errors)."""
    hits = list(covered(np.random.default_rng(7), gap, seed_sd, n_seeds=5, n=200))
    for name in range(3):
        kept = [hit[name] for hit in hits if hit[name] is not None]
        assert 0.92 * len(kept) <= sum(kept) <= 0.985 * len(kept)


def test_mcnemar_is_the_binomial_test_of_what_changed() -> None:
    gained = np.array([1.0] * 8 + [-1.0] * 2 + [0.0] * 10)
    found = mcnemar(gained)
    assert (found.better, found.worse) == (8, 2) and found.p == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(gained * 5) == found, "over seeds the sign counts"
    assert mcnemar(np.zeros(3)) == McNemar(0, 0, 1.0)


def test_interval_of_a_mean_is_the_t_interval() -> None:
    values = np.random.default_rng(5).normal(size=30)
    found = mean_interval([values])
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 29, values.mean(), stats.sem(values)))
