"""How much a cell recovers of what quantization lost, with an interval that is paired over items and covers seeds.

recovered share = (treated - base) / (reference - base), e.g. (acc(OmniQuant+SW) - acc(OmniQuant)) / (acc(FP) -
acc(OmniQuant)), on the unweighted mean over strata (tasks, or texts). Every item is scored by reference, base and
treated alike, and base and treated were made once per seed.

Items and seeds are both samples from larger populations, so both are random effects of a two-way layout without
replication (Searle, Casella, McCulloch, Variance Components, ch. 4). The variance of a mean over items and seeds is

    V = V_items + max(0, V_seeds - V_rest)

V_items is the variance between items, each averaged over seeds, divided by the number of items (stratified). V_seeds is
the variance between the seeds' means, divided by the number of seeds. V_rest is the share of the interaction that both
contain. Degrees of freedom are Satterthwaite's. With fewer than `MIN_SEEDS` seeds, V is V_items alone: the interval is
then conditional on these seeds.

The interval of the share is Fieller's: all shares r for which (treated - base) - r (reference - base) is not clearly
different from 0. It is bounded exactly if (reference - base) is clearly different from 0. If that is not clearly above
0, there is nothing to take a share of, and the share is withheld.

Of n intervals that hold together at 95 %, each is at 1 - 0.045 / n. Bonferroni's level is 1 - 0.05 / n, but so far out
in the tail Satterthwaite's degrees of freedom are a little too many (benchmarks/verdicts.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.crossing import around

Array = NDArray[np.float64]
LEVEL = 0.95
CAUTION = 0.9  # far in the tail, intervals from five seeds miss up to 1.1 times as often as they should
MIN_SEEDS = 5
MIN_DIFFERENT = 10  # items in which base and treated must differ, with any seed; fewer if there are fewer items
NOTHING_LOST = "nothing clearly lost"


@dataclass(frozen=True)
class Interval:
    """A point estimate with the ends of its interval, at 95 % if nothing else is said."""

    point: float
    low: float
    high: float


@dataclass(frozen=True)
class Stratum:
    """The items of one task or text, higher is better.

    Attributes:
        reference: (n_items,) of the full-precision model.
        base: (n_seeds, n_items).
        treated: (n_seeds, n_items); row s was made with the same seed as base's.
        placebo: the same, of what gains are counted from in the base's place; None for the base itself.
    """

    reference: Array
    base: Array
    treated: Array
    placebo: Array | None = None

    @property
    def beside(self) -> Array:
        """Return (n_seeds, n_items): what gains are counted from."""
        return self.base if self.placebo is None else self.placebo

    def contrasts(self) -> Array:
        """Return (2, n_seeds, n_items): what each item gained, and what it had lost."""
        return np.stack([self.treated - self.beside, self.reference - self.base])


@dataclass(frozen=True)
class Recovery:
    """What a treatment recovers of what its base lost; all in the measure's own unit, higher is better.

    Attributes:
        lost: reference minus base.
        gained: treated minus base, or minus a placebo.
        share: gained / lost, as a fraction; None where it is withheld.
        withheld: why there is no share; None where there is one.
        n_items: items of all strata.
        n_seeds: seeds; below MIN_SEEDS the intervals are conditional on these.
        medians: whether all of this is by medians over windows, because some collapse.
    """

    lost: Interval
    gained: Interval
    share: Interval | None
    withheld: str | None
    n_items: int
    n_seeds: int
    medians: bool = False


@dataclass(frozen=True)
class McNemar:
    """How many items became better and worse, and the two-sided p-value of that many by chance."""

    better: int
    worse: int
    p: float


@dataclass(frozen=True)
class _Moments:
    """Means of (gained, lost), and the (2, 2) matrices that make up their covariance."""

    means: Array
    items: Array
    seeds: Array
    rest: Array
    items_df: float
    rest_df: float
    n_seeds: int

    def variance(self, direction: Array) -> tuple[float, float]:
        """Return the variance of a combination of gained and lost, and its degrees of freedom."""
        items, seeds, rest = (float(direction @ part @ direction) for part in (self.items, self.seeds, self.rest))
        if self.n_seeds < MIN_SEEDS or seeds <= rest:
            return items, self.items_df
        total = items + seeds - rest
        spread = items**2 / self.items_df + seeds**2 / (self.n_seeds - 1) + rest**2 / self.rest_df
        return total, total**2 / spread if spread else self.items_df


def together(n: int) -> float:
    """Return the level of each of `n` intervals that hold together at `LEVEL` (Bonferroni, with `CAUTION`)."""
    return LEVEL if n == 1 else 1 - CAUTION * (1 - LEVEL) / n


def recovery(strata: list[Stratum], n: int = 1) -> Recovery:
    """Return what was lost, gained and recovered, with intervals; `n` of them hold together at `LEVEL`."""
    moments, level = _moments(strata), together(n)
    gained, lost = (float(value) for value in moments.means)
    share = _fieller(moments, level)
    withheld = too_few(strata) or (None if share else NOTHING_LOST)
    return Recovery(
        lost=_interval(lost, *moments.variance(np.array([0.0, 1.0])), level),
        gained=_interval(gained, *moments.variance(np.array([1.0, 0.0])), level),
        share=None if withheld else share,
        withheld=withheld,
        n_items=sum(len(stratum.reference) for stratum in strata),
        n_seeds=moments.n_seeds,
    )


def p_of_gain(strata: list[Stratum]) -> float:
    """Return the two-sided p-value of nothing gained.

    It is below 0.05 where the 95 % interval of the gain, and of the share if there is one, lies clear of 0.
    """
    moments = _moments(strata)
    variance, df = moments.variance(np.array([1.0, 0.0]))
    gained = abs(float(moments.means[0]))
    if variance == 0:
        return float(gained == 0)
    return float(2 * stats.t.sf(gained / math.sqrt(variance), df))


def mean_interval(strata: list[Array]) -> Interval:
    """Return the unweighted mean over strata of their items' means, with its interval over items."""
    point = float(np.mean([stratum.mean() for stratum in strata]))
    parts = [stratum.var(ddof=1) / len(stratum) / len(strata) ** 2 if len(stratum) > 1 else 0.0 for stratum in strata]
    return _interval(point, float(sum(parts)), _satterthwaite(parts, [len(stratum) - 1 for stratum in strata]))


def mcnemar(gained: Array) -> McNemar:
    """Test exactly whether chance alone explains how many answers became better and worse.

    Args:
        gained: (n_items,), right answers gained: 1, 0 or -1, or their sums over seeds, of which only the sign counts.

    Source: McNemar (1947), in its exact form a binomial test of the discordant items. On sums over seeds it is the sign
    test: it needs independent items, but not independent answers of the seeds to one item.
    """
    better, worse = int((gained > 0).sum()), int((gained < 0).sum())
    return McNemar(better, worse, float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0)


def too_few(strata: list[Stratum]) -> str | None:
    """Say why these items are too few for an interval to mean anything; None if they are enough."""
    sizes = [len(stratum.reference) for stratum in strata]
    if min(sizes) < 2:  # its variance is unknown
        return "a task or text of one item"
    n_different = sum(int((stratum.treated != stratum.beside).any(axis=0).sum()) for stratum in strata)
    return f"too few items differ ({n_different})" if n_different < min(MIN_DIFFERENT, sum(sizes)) else None


def _moments(strata: list[Stratum]) -> _Moments:
    """Return means and covariances of (gained, lost) over all strata."""
    weight = 1 / len(strata)
    n_seeds = len(strata[0].base)
    by_seed = np.zeros((2, n_seeds))
    items, rest, items_parts, sizes = np.zeros((2, 2)), np.zeros((2, 2)), [], []
    for stratum in strata:
        values = stratum.contrasts()
        n_items = values.shape[2]
        of_seed, of_item = values.mean(axis=2), values.mean(axis=1)
        by_seed += weight * of_seed
        part = weight**2 * np.cov(of_item) / n_items if n_items > 1 else np.zeros((2, 2))
        items += part
        items_parts.append(float(np.trace(part)))
        sizes.append(n_items - 1)
        if min(n_seeds, n_items) > 1:
            left = values - of_seed[:, :, None] - of_item[:, None, :] + values.mean(axis=(1, 2))[:, None, None]
            flat = left.reshape(2, -1)
            rest += weight**2 * (flat @ flat.T) / ((n_items - 1) * (n_seeds - 1)) / (n_items * n_seeds)
    seeds = np.cov(by_seed) / n_seeds if n_seeds > 1 else np.zeros((2, 2))
    return _Moments(
        means=by_seed.mean(axis=1),
        items=items,
        seeds=seeds,
        rest=rest,
        items_df=_satterthwaite(items_parts, sizes),
        rest_df=max(1.0, float(sum(sizes) * (n_seeds - 1))),
        n_seeds=n_seeds,
    )


def _satterthwaite(parts: list[float], sizes: list[int]) -> float:
    """Return the degrees of freedom of a sum of independent variances; at least 1."""
    spread = sum(part**2 / max(1, size) for part, size in zip(parts, sizes, strict=True))
    return max(1.0, sum(parts) ** 2 / spread) if spread else float(max(1, *sizes))


def _interval(point: float, variance: float, df: float, level: float = LEVEL) -> Interval:
    reach = float(stats.t.ppf((1 + level) / 2, df)) * math.sqrt(variance)
    return Interval(point, point - reach, point + reach)


def _fieller(moments: _Moments, level: float) -> Interval | None:
    """Return the share with Fieller's interval, None where what was lost is not clearly above zero."""
    gained, lost = (float(value) for value in moments.means)
    lost_variance, lost_df = moments.variance(np.array([0.0, 1.0]))
    if lost <= float(stats.t.ppf((1 + level) / 2, lost_df)) * math.sqrt(lost_variance):
        return None
    share = gained / lost

    def excess(r: float) -> float:
        """How far gained - r lost is from 0, beyond what chance explains."""
        variance, df = moments.variance(np.array([1.0, -r]))
        return abs(gained - r * lost) - float(stats.t.ppf((1 + level) / 2, df)) * math.sqrt(variance)

    ends = around(share, excess)
    return Interval(share, *ends) if ends else None
