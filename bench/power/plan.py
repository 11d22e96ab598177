"""power: what a slice of a suite can decide, before anything runs and without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.config.params import Params
from bench.power.decisions import Decision, decisions
from bench.power.design import Design, seeds_for
from bench.power.measured import Measured, load_measured
from bench.power.rows import Endpoint, PowerRow, power_rows
from bench.published.claims import load_claims
from bench.published.figures import load_published
from swq.errors import UserError


@dataclass(frozen=True)
class Wanted:
    """What a plan is to reach; shares in percent, the chance as a fraction.

    Attributes:
        half_width: of the interval of the share.
        effect: a true share that the interval is to exclude 0 at.
        bound: the interval is to lie inside ± this where the truth is 0.
        chance: of either.
    """

    half_width: float = 2.0
    effect: float = 5.0
    bound: float = 2.0
    chance: float = 0.8

    def __post_init__(self) -> None:
        for name in ("half_width", "effect", "bound"):
            value = getattr(self, name)
            if not 0 < value <= 100:
                raise UserError(f"--{name.replace('_', '-')}: {value:g} must be above 0 and at most 100 (percent)")
        if not 0 < self.chance < 1:
            raise UserError(f"--chance: {self.chance:g} must be between 0 and 1")


def bound_of(params: Params) -> float:
    """Return the bound of the suite's plan in percent; the usual one without a plan."""
    return params.plan.bound if params.plan else Wanted.bound


@dataclass(frozen=True)
class Forecast:
    """What one endpoint of one row can be expected to say."""

    row: PowerRow
    endpoint: Endpoint
    wanted: Wanted

    def half_width(self, n_seeds: int | None = None) -> float | None:
        """Return the expected median half-width in percent, with the suite's seeds if no number is given."""
        design = self.endpoint.design
        return None if design is None else 100 * design.half_width(n_seeds or self.row.n_seeds)

    @cached_property
    def seeds_for_half_width(self) -> float | None:
        return self._seeds_for(lambda design, n: 100 * design.half_width(n) <= self.wanted.half_width)

    @cached_property
    def seeds_for_effect(self) -> float | None:
        effect, chance = self.wanted.effect / 100, self.wanted.chance
        return self._seeds_for(lambda design, n: design.chance_of_effect(n, effect) >= chance)

    @cached_property
    def seeds_for_equivalence(self) -> float | None:
        bound, chance = self.wanted.bound / 100, self.wanted.chance
        return self._seeds_for(lambda design, n: design.chance_of_equivalence(n, bound) >= chance)

    def _seeds_for(self, reached: Callable[[Design, int], bool]) -> float | None:
        design = self.endpoint.design
        return None if design is None else seeds_for(lambda n: reached(design, n))


@dataclass(frozen=True)
class Plan:
    """What a slice can decide.

    Attributes:
        suite: its name.
        wanted: what is to be reached.
        forecasts: for each row and endpoint.
        decided: for each claim about a model of the slice.
        sources: the measured rows whose variances are used.
    """

    suite: str
    wanted: Wanted
    forecasts: tuple[Forecast, ...]
    decided: tuple[Decision, ...]
    sources: tuple[Measured, ...]


def plan(params: Params, keys: Sequence[str], wanted: Wanted) -> Plan:
    """Return what the slice of cells `keys` can decide.

    Raises:
        UserError: no row of the slice has a share, or no variance is known.
    """
    rows = power_rows(params, keys, load_measured(), load_published())
    claims = load_claims()
    decided: list[Decision] = []
    if set(params.protocol.tasks) == set(claims.tasks):
        decided = decisions(claims, rows, wanted.effect / 100, wanted.chance)
    sources = {row.source.called: row.source for row in rows}
    forecasts = (Forecast(row, endpoint, wanted) for row in rows for endpoint in row.endpoints)
    return Plan(params.suite, wanted, tuple(forecasts), tuple(decided), tuple(sources.values()))
