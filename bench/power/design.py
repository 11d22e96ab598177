"""How wide an interval of the recovered share will be, and how often it will conclude: arithmetic, no simulation.

`recovery` takes a share r and looks at z = gained - r lost. Over n seeds and strata of m items, weighted by w, with the
components of `bench.power.components`, all in the direction (1, -r):

    items = sum w² (I + R / n) / m      its estimate has Satterthwaite's degrees of freedom over strata
    seeds = S / n + sum w² R / (n m)    its estimate has n - 1
    rest  = sum w² R / (n m)

The estimated variance is items + max(0, seeds - rest), with Satterthwaite's degrees of freedom. Estimates of items and
of seeds are chi-squares around these. They are taken at equally likely points of each (GRID), so that the max and the
degrees of freedom are those of `recovery`. The true variance is items + S / n. What was gained and lost is normal, and
independent of the estimates.

The half-width is Fieller's: t s / lost, widened for what is not known of `lost`, whose values are taken at equally
likely points too. `benchmarks/power.py` compares all of it with `recovery` on simulated experiments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import special

from bench.analysis.recovery import LEVEL, MIN_SEEDS, Array
from bench.power.components import Components

GRID = 24
MANY = 10**7  # seeds that leave nothing of themselves
CAP = 1000  # seeds; more are out of reach
TINY = 1e-300  # in place of a deviation of 0


@dataclass(frozen=True)
class Design:
    """What is measured of one row by one endpoint.

    Attributes:
        lost: what quantization loses, in the unit of the components; above 0.
        components: of (gained, lost).
        sizes: items of each stratum (task or text), which have equal weights.
    """

    lost: float
    components: Components
    sizes: tuple[int, ...]

    def half_width(self, n_seeds: int) -> float:
        """Return the expected median half-width where nothing is recovered; infinite if most shares are withheld.

        Below five seeds it is that of the conditional interval, which is over items alone.
        """
        s, t = self._estimates(n_seeds, np.array([1.0, 0.0]))
        of_lost, _ = self._estimates(n_seeds, np.array([0.0, 1.0]))
        lost, _, conditional = self._given_lost(n_seeds)
        truth = self._truth(n_seeds)[0, 0]
        unexplained = conditional**2 / truth if truth else 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            g = np.where(lost > 0, (t * float(np.median(of_lost)) / lost) ** 2, math.inf)  # Fieller's
            wide = np.sqrt(np.maximum(0, 1 - g * unexplained)) / (1 - g)
            return float(np.median(np.where(g < 1, t * s * wide / lost, math.inf)))

    def chance_of_effect(self, n_seeds: int, share: float) -> float:
        """Return the chance that the interval excludes 0 where `share` is true; none below five seeds.

        What is recovered is taken to come from the items in proportion to what they lost, so they gain unequally.
        """
        if n_seeds < MIN_SEEDS:
            return 0.0
        turned = np.array([[1.0, share], [0.0, 1.0]])
        parts = replace(self.components, items=turned @ self.components.items @ turned.T)
        there = replace(self, components=parts)
        s, t = there._estimates(n_seeds, np.array([1.0, 0.0]))
        true = math.sqrt(there._truth(n_seeds)[0, 0]) or TINY
        away = share * self.lost
        excluded = np.mean(special.ndtr((away - t * s) / true) + special.ndtr((-away - t * s) / true))
        return float(excluded * there._chance_of_share(n_seeds))

    def chance_of_equivalence(self, n_seeds: int, bound: float) -> float:
        """Return the chance that the interval lies inside ± `bound` where the truth is 0; none below five seeds."""
        if n_seeds < MIN_SEEDS:
            return 0.0
        # gained - r lost has to be clear of 0 at both ends r; the two reaches differ little
        ends = [self._estimates(n_seeds, np.array([1.0, r])) for r in (-bound, bound)]
        reach = sum(s * t for s, t in ends) / 2
        lost, expected, true = self._given_lost(n_seeds)
        room = bound * lost - reach
        inside = special.ndtr((room - expected) / true) - special.ndtr((-room - expected) / true)
        return float(np.mean(np.maximum(0, inside)))

    def _chance_of_share(self, n_seeds: int) -> float:
        """Return how often what is lost is clearly above 0, so that its share is not withheld."""
        s, t = self._estimates(n_seeds, np.array([0.0, 1.0]))
        true = math.sqrt(self._truth(n_seeds)[1, 1]) or TINY
        return float(np.mean(special.ndtr((self.lost - t * s) / true)))

    def _given_lost(self, n_seeds: int) -> tuple[Array, Array, float]:
        """Return equally likely values of what is lost, the gain to be expected with each, and its deviation."""
        truth = self._truth(n_seeds)
        points = special.ndtri((np.arange(GRID) + 0.5) / GRID)[:, None, None] * math.sqrt(truth[1, 1])
        slope = truth[0, 1] / truth[1, 1] if truth[1, 1] else 0.0
        left = max(0.0, truth[0, 0] - slope * truth[0, 1])
        return self.lost + points, slope * points, math.sqrt(left) or TINY

    def _truth(self, n_seeds: int) -> Array:
        """Return the (2, 2) covariance of the means of (gained, lost)."""
        parts = self.components
        return self._weight * (parts.items + parts.rest / n_seeds) + parts.seeds / n_seeds

    @property
    def _weight(self) -> float:
        return sum(1 / size for size in self.sizes) / len(self.sizes) ** 2

    def _estimates(self, n_seeds: int, direction: Array) -> tuple[Array, Array]:
        """Return equally likely standard errors, and the quantile of t that goes with each."""
        seeds, items, rest = (
            float(direction @ part @ direction)
            for part in (self.components.seeds, self.components.items, self.components.rest)
        )
        rest *= self._weight / n_seeds
        items = self._weight * items + rest
        shares = [1 / size for size in self.sizes]
        items_df = max(
            1.0, sum(shares) ** 2 / sum(s**2 / max(1, n - 1) for s, n in zip(shares, self.sizes, strict=True))
        )
        found_items = items * _chi_square(items_df)[:, None] + np.zeros((1, GRID))
        total, df = found_items, np.full(found_items.shape, items_df)
        if n_seeds >= MIN_SEEDS:
            found_seeds = (seeds / n_seeds + rest) * _chi_square(n_seeds - 1)[None, :]
            total = found_items + np.maximum(0, found_seeds - rest)
            rest_df = max(1.0, (sum(self.sizes) - len(self.sizes)) * (n_seeds - 1))
            spread = found_items**2 / items_df + found_seeds**2 / (n_seeds - 1) + rest**2 / rest_df
            with np.errstate(divide="ignore", invalid="ignore"):
                df = np.where((found_seeds > rest) & (spread > 0), total**2 / spread, items_df)
        return np.sqrt(total), special.stdtrit(df, (1 + LEVEL) / 2)


@lru_cache(maxsize=4096)
def _chi_square(df: float) -> Array:
    """Return equally likely values of a chi-square over its degrees of freedom."""
    return 2 * special.gammaincinv(df / 2, (np.arange(GRID) + 0.5) / GRID) / df


def seeds_for(reached: Callable[[int], bool]) -> float:
    """Return the fewest seeds, five or more, with which something is reached.

    Infinite: not with any number. NaN: only with more than CAP.
    """
    if reached(MIN_SEEDS):
        return MIN_SEEDS
    if not reached(CAP):
        return math.nan if reached(MANY) else math.inf
    low, high = MIN_SEEDS, CAP
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
