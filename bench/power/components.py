"""Where the variance of (gained, lost) comes from: seeds, items, and both together, by the method of moments.

A two-way layout without replication: value = mean + seed + item + rest (Searle, Casella, McCulloch, Variance
Components, ch. 4), for the two contrasts of `recovery` at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.analysis.recovery import Array


@dataclass(frozen=True)
class Components:
    """(2, 2) covariances of (gained, lost), in the measure's own unit squared.

    Attributes:
        seeds: of one seed's effect, which all its items share.
        items: of one item's effect, which all seeds share.
        rest: of one item with one seed.
    """

    seeds: Array
    items: Array
    rest: Array

    def over(self, lost: float) -> Components:
        """Return them of (gained, lost) as fractions of what is lost."""
        return Components(*(part / lost**2 for part in (self.seeds, self.items, self.rest)))

    def possible(self) -> Components:
        """Return covariances that can be: an estimate may be negative in some direction, and is 0 there."""
        return Components(*(root(part) @ root(part).T for part in (self.seeds, self.items, self.rest)))


def components(values: Array) -> Components:
    """Estimate components without bias; `values` is (2, n_seeds, n_items), as of `Stratum.contrasts`."""
    _, n_seeds, n_items = values.shape
    of_seed, of_item = values.mean(axis=2), values.mean(axis=1)
    left = values - of_seed[:, :, None] - of_item[:, None, :] + values.mean(axis=(1, 2))[:, None, None]
    flat = left.reshape(2, -1)
    rest = flat @ flat.T / ((n_seeds - 1) * (n_items - 1))
    return Components(np.cov(of_seed) - rest / n_items, np.cov(of_item) - rest / n_seeds, rest)


def root(covariance: Array) -> Array:
    """Return a matrix whose product with its transpose is the covariance, with negative eigenvalues set to 0."""
    values, vectors = np.linalg.eigh(covariance)
    found: Array = vectors * np.sqrt(np.maximum(values, 0))
    return found
