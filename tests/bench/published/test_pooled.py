"""Holm's correction, the pooled share, and medians over windows."""

from __future__ import annotations

import numpy as np
import pytest

from bench.analysis.median_windows import median_recovery, median_share, n_collapsed
from bench.analysis.recovery import MIN_SEEDS, Stratum, p_of_gain, recovery, together
from bench.published.pooled import holm, pooled
from benchmarks.verdicts import CELLS, Variances, claim, collapse, experiment, single, variances
from tests.support.repository import ROOT


def drawn(seed: int, n_seeds: int = 5, n_windows: int = 8, share: float = 0.3) -> list[Stratum]:
    draw = np.random.default_rng(seed)
    lost = 1.0 + 0.02 * draw.normal(size=(n_seeds, n_windows))
    gained = share * lost + 0.01 * draw.normal(size=(n_seeds, n_windows)) + 0.01 * draw.normal(size=(n_seeds, 1))
    reference = draw.normal(size=n_windows)
    return [Stratum(reference, reference - lost, reference - lost + gained)]


def test_holm_steps_down() -> None:
    """The smallest is multiplied by all, the next by one less, and none falls below one before it."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02, None, 0.5]) == [pytest.approx(0.06), None, 1.0], "a setting that was not run counts"
    assert holm([0.7, 0.6]) == [1.0, 1.0] and holm([]) == []


def test_pooled_share_is_the_ratio_of_sums_over_settings() -> None:
    one, other = drawn(1), drawn(2, share=0.1)
    found = recovery(pooled([one, other]))
    gained, lost = sum(s[0].contrasts().mean(axis=(1, 2)) for s in (one, other))
    assert found.share is not None and found.share.point == pytest.approx(gained / lost)
    assert found.n_seeds == 5 and found.n_items == 8


def test_seeds_are_clusters_in_the_pool() -> None:
    """The same setting twice is one setting: no number of copies makes the interval narrower."""
    one = recovery(drawn(3))
    twice = recovery(pooled([drawn(3), drawn(3)]))
    assert one.share is not None and twice.share is not None
    assert (twice.share.low, twice.share.high) == pytest.approx((one.share.low, one.share.high))


def test_intervals_that_hold_together_are_wider_by_their_number() -> None:
    alone, four = recovery(drawn(4)).share, recovery(drawn(4), 4).share
    assert together(1) == 0.95 and together(4) == pytest.approx(1 - 0.045 / 4)
    assert alone is not None and four is not None
    assert four.low < alone.low < alone.point == four.point < alone.high < four.high


def test_p_is_small_where_the_interval_is_clear_of_0() -> None:
    for seed in range(20):
        strata = drawn(seed, share=0.015)
        gained = recovery(strata).gained
        assert (p_of_gain(strata) < 0.05) == (not gained.low <= 0 <= gained.high)
    same = np.zeros((5, 8))
    assert p_of_gain([Stratum(np.ones(8), same, same)]) == 1.0 and p_of_gain([Stratum(np.ones(8), same, same + 1)]) == 0


def test_median_is_near_the_mean_where_nothing_collapses_and_stays_where_something_does() -> None:
    strata = drawn(5)
    mean, median = recovery(strata).share, median_share(strata)
    assert mean is not None and median is not None and n_collapsed(strata) == 0
    assert median.point == pytest.approx(mean.point, abs=0.02) and median.low < 0.3 < median.high
    (stratum,) = strata
    treated = stratum.treated.copy()
    treated[2, 4] -= 7.0
    broken = [Stratum(stratum.reference, stratum.base, treated)]
    again = median_share(broken)
    assert n_collapsed(broken) == 1 and again is not None and again.point == pytest.approx(median.point, abs=0.01)
    assert recovery(broken).gained.point < 0.15 and median_recovery(broken).gained.low > 0.2


def test_median_is_withheld_where_nothing_is_lost() -> None:
    same = np.tile(np.arange(8.0), (5, 1))
    assert median_share([Stratum(np.arange(8.0), same, same + 0.1)]) is None


def test_below_five_seeds_the_medians_interval_is_over_windows_only() -> None:
    strata = drawn(6, n_seeds=MIN_SEEDS - 1)
    shifted = [Stratum(s.reference, s.base, s.treated + np.arange(4.0)[:, None]) for s in strata]
    one, other = median_recovery(strata).gained, median_recovery(shifted).gained
    assert other.high - other.low == pytest.approx(one.high - one.low, rel=1e-6)


# The experiments of benchmarks/verdicts.py


@pytest.fixture(scope="module")
def row() -> Variances:
    return variances("w3a16g64-omniquant", ROOT / CELLS)


def test_variances_are_those_of_the_results(row: Variances) -> None:
    """As docs/statistics.md tells them: most of a share's variance comes from seeds."""
    of_gain = [float((part @ part.T)[0, 0]) for part in (row.seeds, row.windows, row.rest)]
    assert row.lost == pytest.approx(0.523, abs=0.002)
    assert of_gain[0] / 5 > 0.5 * (of_gain[0] / 5 + of_gain[1] / 8 + of_gain[2] / 40)


def test_experiments_have_the_variances_that_they_are_given(row: Variances) -> None:
    (stratum,) = experiment(np.random.default_rng(0), [row], 0.1, (400, 300))
    gained, lost = stratum.contrasts()
    assert lost.mean() == pytest.approx(row.lost, abs=0.01) and gained.mean() == pytest.approx(0.1 * row.lost, abs=0.01)
    assert gained.mean(axis=1).std() == pytest.approx(np.linalg.norm(row.seeds[0]), rel=0.15)


def test_collapses_are_far_worse_and_rare(row: Variances) -> None:
    rng = np.random.default_rng(1)
    (stratum,) = experiment(rng, [row], 0.0, (5, 1000))
    broken = collapse(rng, stratum, 0.0)
    assert (broken.treated == stratum.treated).all() and 0.01 < (broken.base < stratum.base).mean() < 0.04


@pytest.mark.slow
def test_few_experiments_say_nothing_that_is_not_true(row: Variances) -> None:
    """A small version of the benchmark, seeded: of 200 intervals, at least 184 (two standard errors)."""
    rng = np.random.default_rng(2)
    few = [single(rng, row, (1, 8)) for _ in range(20)]
    assert not any(found["helps or hurts"] or found["supported"] or found["contradicted"] for found in few)
    assert any(found["excludes 0"] for found in few), "as chance has it"
    whole = [claim(rng, [row] * 4, 0.1, (5, 8)) for _ in range(200)]
    for name in ("all corrected hold", "pooled holds"):
        assert sum(bool(found[name]) for found in whole) >= 184
