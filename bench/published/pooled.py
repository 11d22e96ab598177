"""Several settings at once: one share over all of them, and the correction of single ones for their number.

The pooled share is the ratio of summed gains to summed losses. A random-effects mean of shares needs the variance
between settings, and a handful of settings does not determine it. Sums need none: gains and losses are summed over the
settings within each item and seed, and what is left is one layout of items and seeds, as for a single setting. One seed
draws one calibration set for all settings, and all score the same items. So both stay clusters, whatever is shared
inside them.

The intervals that hold together are Bonferroni's (`recovery.together`). Holm's correction (Holm 1979) is sharper,
but it makes p-values, not intervals that hold together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.analysis.recovery import Stratum


def pooled(settings: Sequence[list[Stratum]]) -> list[Stratum]:
    """Return strata whose gains and losses are the means over settings, item by item and seed by seed.

    Args:
        settings: the strata of each, of the same items and the same seeds in the same order.
    """
    return [
        Stratum(
            np.mean([stratum.reference for stratum in same], axis=0),
            np.mean([stratum.base for stratum in same], axis=0),
            np.mean([stratum.treated for stratum in same], axis=0),
            np.mean([stratum.beside for stratum in same], axis=0),
        )
        for same in zip(*settings, strict=True)
    ]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number by Holm's rule; None counts as a test that was not passed."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        corrected[place] = highest
    return corrected
