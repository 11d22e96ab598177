"""The recovered share of log-perplexity where windows of text collapse: medians over windows in place of means.

Now and then a quantized model breaks down on a window and loses several nats a token there. A few such windows decide
a mean, and no t-interval of it holds, because how often and how far they break is not known from a few. So the mean is
withheld, and the median over windows stands in its place. No window is dropped: each counts once, far off or not.

For a share r, z = gained - r lost of every seed and window. Its median over windows, averaged over seeds, is 0 at the
estimated share, and not clearly different from 0 inside the interval. The variance is that between the seeds' medians,
divided by the number of seeds, plus that of a median over these windows (the median over seeds of each, pi/2 times the
variance of their mean, with the spread taken from the median absolute deviation). Part of the interaction of seeds and
windows is in both, so intervals are rather too wide than too narrow. Degrees of freedom are those of the seeds. Below
`MIN_SEEDS` seeds only the windows count, as for means.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from bench.analysis.broken_windows import FAR
from bench.analysis.crossing import around
from bench.analysis.recovery import (
    LEVEL,
    MIN_SEEDS,
    NOTHING_LOST,
    Array,
    Interval,
    Recovery,
    Stratum,
    together,
    too_few,
)

TO_DEVIATION = 1.4826  # a normal distribution's standard deviation over its median absolute deviation


def n_collapsed(strata: list[Stratum]) -> int:
    """Return how many windows the base, the treated model or its placebo breaks down on, with any seed."""
    return sum(int(collapsed(stratum).sum()) for stratum in strata)


def collapsed(stratum: Stratum) -> NDArray[np.bool_]:
    """Say of each window whether it is far worse than this model's other windows, with any seed."""
    found = np.zeros(len(stratum.reference), dtype=bool)
    for values in (stratum.base, stratum.treated, stratum.beside):
        excess = stratum.reference - values
        found |= (excess > np.median(excess, axis=1, keepdims=True) + FAR).any(axis=0)
    return found


def median_recovery(strata: list[Stratum], n: int = 1) -> Recovery:
    """Return what was lost, gained and recovered by medians over windows; `n` of the intervals hold together."""
    level, contrasts = together(n), [stratum.contrasts() for stratum in strata]
    share = median_share(strata, level)
    withheld = too_few(strata) or (None if share else NOTHING_LOST)
    return Recovery(
        lost=_interval([lost for _, lost in contrasts], level),
        gained=_interval([gained for gained, _ in contrasts], level),
        share=None if withheld else share,
        withheld=withheld,
        n_items=sum(len(stratum.reference) for stratum in strata),
        n_seeds=len(strata[0].base),
        medians=True,
    )


def median_share(strata: list[Stratum], level: float = LEVEL) -> Interval | None:
    """Return the recovered share by medians over windows; None where nothing is clearly lost."""
    contrasts = [stratum.contrasts() for stratum in strata]

    def of(r: float) -> Interval:
        return _interval([gained - r * lost for gained, lost in contrasts], level)

    lost = _interval([values[1] for values in contrasts], level)
    if lost.low <= 0:
        return None
    reach = 2.0 * abs(of(0.0).point) / lost.point + 1.0
    while of(-reach).point <= 0 or of(reach).point >= 0:
        reach *= 2
    share = float(brentq(lambda r: of(r).point, -reach, reach))

    def excess(r: float) -> float:
        found = of(r)
        return abs(found.point) - (found.high - found.low) / 2

    ends = around(share, excess)
    return Interval(share, *ends) if ends else None


def _interval(values: list[Array], level: float) -> Interval:
    """Return the mean over strata and seeds of the medians over windows, with its interval.

    Args:
        values: (n_seeds, n_windows) of each stratum.
        level: of the interval.
    """
    by_seed = np.mean([np.median(z, axis=1) for z in values], axis=0)
    windows = sum(_variance_of_median(z) for z in values) / len(values) ** 2
    n_seeds = len(by_seed)
    variance, df = windows, sum(z.shape[1] - 1 for z in values)
    if n_seeds >= MIN_SEEDS:
        variance, df = windows + float(by_seed.var(ddof=1)) / n_seeds, n_seeds - 1
    point = float(by_seed.mean())
    reach = float(stats.t.ppf((1 + level) / 2, max(1, df))) * math.sqrt(variance)
    return Interval(point, point - reach, point + reach)


def _variance_of_median(z: Array) -> float:
    effects = np.median(z - np.median(z, axis=1, keepdims=True), axis=0)
    spread = TO_DEVIATION * float(np.median(np.abs(effects - np.median(effects))))
    return math.pi / 2 * spread**2 / len(effects)
