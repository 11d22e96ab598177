"""Windows of text that a quantized model breaks down on: a few can decide a perplexity and hide the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.analysis.recovery import Array

FAR = 1.0  # nats a token


def is_broken(losses: Array, reference: Array) -> NDArray[np.bool_]:
    """Say of each window whether it broke, (n_windows,), from a cell's losses and full precision's.

    Args:
        losses: (n_windows,) means in nats per token.
        reference: full precision's, of the same shape.
    """
    excess = losses - reference
    broken: NDArray[np.bool_] = excess > np.median(excess) + FAR
    return broken
