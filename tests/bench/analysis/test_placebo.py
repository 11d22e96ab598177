"""SW minus placebo, as a share of what the base lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.analysis.median_windows import median_recovery, n_collapsed
from bench.analysis.recovery import Recovery, Stratum, recovery
from bench.published.pooled import pooled


def drawn(n_seeds: int, seed: int = 0, n_items: int = 40) -> list[Stratum]:
    """Two strata; SW recovers 0.3 of what was lost and the placebo 0.2, but for noise of items and seeds."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(2):
        reference = draw.normal(0.0, 1.0, n_items)
        lost = draw.normal(1.0, 0.1, (n_seeds, n_items))
        base = reference - lost
        gains = (share * lost + draw.normal(0.0, 0.02, (n_seeds, 1)) for share in (0.3, 0.2))
        found.append(Stratum(reference, base, *(base + gain + draw.normal(0.0, 0.02, lost.shape) for gain in gains)))
    return found


def share(found: Recovery) -> float:
    assert found.share is not None
    return found.share.point


@pytest.mark.parametrize("n_seeds", [1, 6])
def test_share_is_that_of_sw_less_that_of_the_placebo(n_seeds: int) -> None:
    beyond = drawn(n_seeds)
    of_sw = recovery([replace(s, placebo=None) for s in beyond])
    of_placebo = recovery([Stratum(s.reference, s.base, s.beside) for s in beyond])
    found = recovery(beyond)
    assert share(found) == pytest.approx(share(of_sw) - share(of_placebo), abs=1e-12)
    assert found.lost.point == of_sw.lost.point and (found.n_items, found.n_seeds) == (80, n_seeds)
    assert found.gained.point == pytest.approx(of_sw.gained.point - of_placebo.gained.point)


def test_interval_is_that_of_the_same_two_differences() -> None:
    """With one seed, a base that stands where the placebo does, and has lost as much as the base, says the same."""
    (stratum,) = drawn(1)[:1]
    moved = stratum.reference - stratum.base[0] + stratum.beside[0]
    assert recovery([stratum]) == recovery([Stratum(moved, stratum.beside, stratum.treated)])


def test_pooled_differences_are_means_of_differences() -> None:
    one, other = drawn(6, seed=1), drawn(6, seed=2)
    for a, b, both in zip(one, other, pooled([one, other]), strict=True):
        np.testing.assert_allclose(both.contrasts(), (a.contrasts() + b.contrasts()) / 2, atol=1e-12)


def test_base_as_its_own_placebo_changes_nothing() -> None:
    plain = [replace(s, placebo=None) for s in drawn(6)]
    doubled = [replace(s, placebo=s.base) for s in plain]
    assert recovery(doubled) == recovery(plain)
    assert median_recovery(doubled) == median_recovery(plain)


def test_intervals_hold_what_is_true_over_seeds() -> None:
    """0.3 - 0.2, in about 95 % of experiments: the seeds' noise of both is in the interval."""
    held = 0
    for seed in range(200):
        found = recovery(drawn(6, seed, n_items=20)).share
        assert found is not None
        held += found.low <= 0.1 <= found.high
    assert 180 <= held <= 199


def test_placebo_that_collapses_is_seen_and_must_differ() -> None:
    (stratum,) = drawn(6)[:1]
    assert n_collapsed([stratum]) == 0
    broken = stratum.beside.copy()
    broken[2, 7] -= 5.0
    assert n_collapsed([replace(stratum, placebo=broken)]) == 1
    assert recovery([replace(stratum, placebo=stratum.treated)]).withheld == "too few items differ (0)"
