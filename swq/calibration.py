"""Calibration samples: windows of a fixed length cut from one long text."""

from __future__ import annotations

import torch
from torch import Tensor

from swq.errors import UserError
from swq.seeding import keyed_generator


def sample_windows(token_ids: Tensor, n_samples: int, seq_len: int, seed: int) -> Tensor:
    """Return `n_samples` different windows of `seq_len` tokens, chosen at random among non-overlapping ones.

    Args:
        token_ids: (L,) int64, the whole text.
        n_samples: windows wanted.
        seq_len: tokens per window.
        seed: decides which windows are taken, and their order.

    Returns:
        (n_samples, seq_len) int64.

    Raises:
        UserError: the text holds fewer windows.
    """
    n_windows = token_ids.numel() // seq_len
    if n_windows < n_samples:
        raise UserError(
            f"calibration: the text has {token_ids.numel()} tokens, which is {n_windows} windows of {seq_len};"
            f" {n_samples} were asked for"
        )
    order = torch.randperm(n_windows, generator=keyed_generator(seed, "calibration"))[:n_samples]
    return token_ids[: n_windows * seq_len].reshape(n_windows, seq_len)[order]
