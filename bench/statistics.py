"""How much of what quantization lost a cell recovers, with an interval that is paired over items.

recovered share = (treated - base) / (reference - base), e.g. (acc(OmniQuant+SW) - acc(OmniQuant)) / (acc(FP) -
acc(OmniQuant)), on the unweighted mean over strata (tasks). The same resampled items serve reference, base and treated:
most items behave alike in all three, so pairing removes most of the noise of which items were drawn.

The interval is over items alone: it is conditional on the seed that made the cells.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVEL = 0.95
RESAMPLES_AT_ONCE = 250  # bounds the memory of whole task sets


@dataclass(frozen=True)
class Interval:
    """A point estimate with the ends of its 95 % interval."""

    point: float
    low: float
    high: float

    @classmethod
    def of(cls, point: float, resampled: Array) -> Interval:
        low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(float(point), float(low), float(high))


@dataclass(frozen=True)
class Recovery:
    """What a treatment recovers of what its base lost; all in the measure's own unit, higher is better.

    Attributes:
        lost: reference minus base.
        gained: treated minus base.
        share: gained / lost, as a fraction; None where `lost` is not clearly above zero.
    """

    lost: Interval
    gained: Interval
    share: Interval | None


def recovery(strata: list[Array], n_resamples: int, key: str) -> Recovery:
    """Bootstrap a recovered share, paired over items and stratified.

    Args:
        strata: one (n_items, 3) array per stratum with columns reference, base, treated; higher is better.
        n_resamples: bootstrap resamples.
        key: names this comparison; its random draws depend on nothing else.
    """
    point = np.mean([stratum.mean(axis=0) for stratum in strata], axis=0)
    means = resampled_means(strata, n_resamples, key)
    reference, base, treated = means.T
    lost = Interval.of(point[0] - point[1], reference - base)
    gained = Interval.of(point[2] - point[1], treated - base)
    if lost.low <= 0:
        return Recovery(lost, gained, None)
    # A few resamples may still lose nothing; their ratio has no meaning and counts as unbounded on its own side.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (treated - base) / (reference - base)
    unbounded = np.sign(treated - base) * np.finfo(float).max
    finite = np.where(reference > base, ratios, unbounded)
    return Recovery(lost, gained, Interval.of(gained.point / lost.point, finite))


def resampled_means(strata: list[Array], n_resamples: int, key: str) -> Array:
    """Return (n_resamples, columns): the unweighted mean over strata of each resample's column means."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    generator = np.random.default_rng(seed)
    chunks = []
    for start in range(0, n_resamples, RESAMPLES_AT_ONCE):
        n = min(RESAMPLES_AT_ONCE, n_resamples - start)
        drawn = [generator.integers(0, len(stratum), (n, len(stratum))) for stratum in strata]
        chunks.append(
            np.mean([stratum[index].mean(axis=1) for stratum, index in zip(strata, drawn, strict=True)], axis=0)
        )
    return np.concatenate(chunks)


def segment_means(token_losses: Array, segment: int) -> Array:
    """Return the means of runs of `segment` tokens, in order: neighbouring tokens are no independent items.

    Args:
        token_losses: (n_windows, T - 1).
        segment: tokens a run; a shorter rest of a window forms the last run of it.
    """
    n_segments = max(1, round(token_losses.shape[1] / segment))
    return np.concatenate([[part.mean() for part in np.array_split(w, n_segments)] for w in token_losses])
