"""Predicted half-widths and chances are those that `recovery` gives on simulated experiments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.power.components import Components, components
from bench.power.design import CAP, Design, seeds_for
from benchmarks.power import Line, answers, of_answers, predicted, simulated, text

# As suite smollm2 measured them under OmniQuant at W3, rounded; fractions of what is lost.
PARTS = Components(
    seeds=np.array([[1.3e-3, 0.7e-3], [0.7e-3, 0.7e-3]]),
    items=np.array([[2.0e-4, 0.0], [0.0, 5.0e-3]]),
    rest=np.array([[3.0e-3, 1.0e-3], [1.0e-3, 2.0e-3]]),
)


def agree(one: Line, other: Line) -> None:
    """A half-width that is 15 % off fails, as does a chance that is 10 points off."""
    assert one.half_width == pytest.approx(other.half_width, rel=0.1)
    assert one.effect == pytest.approx(other.effect, abs=0.06)
    assert one.equivalence == pytest.approx(other.equivalence, abs=0.06)


@pytest.mark.parametrize("shape", [(5, 8), (5, 64), (12, 16)])
def test_text_is_predicted(shape: tuple[int, int]) -> None:
    found = predicted(Design(1.0, PARTS, (shape[1],)), shape[0])
    agree(found, simulated(text(PARTS, shape), shape[0], 400, seed=1))


@pytest.mark.parametrize(("lost", "n_seeds"), [(0.1, 12), (0.3, 20), (0.2, 1)])
def test_answers_are_predicted(lost: float, n_seeds: int) -> None:
    sizes = (300, 200, 400)
    found = predicted(of_answers(0.12, sizes, lost), n_seeds)
    agree(found, simulated(answers(0.12, lost, n_seeds, sizes), n_seeds, 300, seed=2))


def test_components_are_those_that_experiments_are_drawn_from() -> None:
    (stratum,) = text(PARTS, (300, 200))(np.random.default_rng(3), 0.0)
    found = components(stratum.contrasts())
    for name in ("seeds", "items", "rest"):
        diagonal, drawn = np.diag(getattr(found, name)), np.diag(getattr(PARTS, name))
        assert diagonal == pytest.approx(drawn, rel=0.3), name
    assert found.over(2.0).rest == pytest.approx(found.rest / 4)


def test_an_impossible_estimate_becomes_possible() -> None:
    parts = Components(np.diag([-1.0, 2.0]), np.eye(2), np.eye(2)).possible()
    assert parts.seeds == pytest.approx(np.diag([0.0, 2.0])) and parts.items == pytest.approx(np.eye(2))


def test_below_five_seeds_the_interval_is_over_items_and_concludes_nothing() -> None:
    design = Design(1.0, PARTS, (64,))
    assert design.half_width(4) < design.half_width(5) / 2
    assert design.chance_of_effect(4, 1.0) == design.chance_of_equivalence(4, 1.0) == 0
    assert design.chance_of_effect(5, 1.0) > 0.99


def test_a_loss_that_is_not_clear_withholds_the_share() -> None:
    design = of_answers(0.12, (50,) * 5, 0.01)
    assert math.isinf(design.half_width(5)) and design.chance_of_effect(10**6, 0.9) < 0.2


def test_fewest_seeds_are_found() -> None:
    design = Design(1.0, PARTS, (64,))
    n = seeds_for(lambda seeds: design.half_width(seeds) <= 0.02)
    assert design.half_width(int(n)) <= 0.02 < design.half_width(int(n) - 1)
    assert seeds_for(lambda seeds: design.half_width(seeds) <= 1.0) == 5


def test_no_number_of_seeds_and_too_many_are_told_apart() -> None:
    design = Design(1.0, PARTS, (8,))
    least = design.half_width(10**7)
    assert math.isinf(seeds_for(lambda seeds: design.half_width(seeds) < 0.99 * least)), "windows are left"
    assert math.isnan(seeds_for(lambda seeds: design.half_width(seeds) < 1.0001 * least)), f"more than {CAP}"


def test_equivalence_asks_for_far_more_seeds_than_a_half_width_of_the_bound() -> None:
    design = Design(1.0, PARTS, (64,))
    half = seeds_for(lambda seeds: design.half_width(seeds) <= 0.02)
    assert seeds_for(lambda seeds: design.chance_of_equivalence(seeds, 0.02) >= 0.8) > 1.5 * half
