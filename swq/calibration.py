"""Calibration samples: windows of a fixed length, drawn by our own sampling or as in the published recipes.

The published samplings draw from Python's and numpy's generators as their code does, so that the same text, tokenizer
and seed give the same tokens. Each has its own generator, which nothing else draws from.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
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


def gptq_joined(token_ids: Tensor, n_samples: int, seq_len: int, seed: int) -> Tensor:
    """Return windows (n_samples, seq_len) that start anywhere in one long text (L,); they may overlap.

    Raises:
        UserError: the text is no longer than one window.

    Source: Frantar et al., GPTQ (arXiv 2210.17323), its code's sampling of WikiText2; OmniQuant uses it too.
    """
    if token_ids.numel() <= seq_len:
        raise UserError(f"calibration: the text has {token_ids.numel()} tokens; windows of {seq_len} were asked for")
    draw = random.Random(seed)
    starts = [draw.randint(0, token_ids.numel() - seq_len - 1) for _ in range(n_samples)]
    return torch.stack([token_ids[start : start + seq_len] for start in starts])


def gptq_documents(
    tokens_of: Callable[[int], Tensor], n_documents: int, n_samples: int, seq_len: int, seed: int
) -> Tensor:
    """Return windows (n_samples, seq_len), each from another draw of a random document longer than a window.

    Args:
        tokens_of: the tokens (L,) of a document.
        n_documents: how many there are.
        n_samples: windows wanted.
        seq_len: tokens per window.
        seed: seed of both draws, the document and the position in it. 0 for the validation windows of C4.

    Raises:
        UserError: no document is long enough.

    Source: GPTQ's code, its sampling of C4. That code fails on a document of exactly `seq_len` tokens; here such a
        document counts as too short.
    """
    draw = random.Random(seed)
    windows: list[Tensor] = []
    misses = 0
    while len(windows) < n_samples:
        tokens = tokens_of(draw.randint(0, n_documents - 1))
        if tokens.numel() > seq_len:
            start = draw.randint(0, tokens.numel() - seq_len - 1)
            windows.append(tokens[start : start + seq_len])
            misses = 0
            continue
        misses += 1
        if misses > 1000 + 20 * n_documents:  # P(a given one is still undrawn) < e^-20
            raise UserError(f"calibration: none of {n_documents} documents is longer than {seq_len} tokens")
    return torch.stack(windows)


def awq_packed(tokens_of: Callable[[int], Tensor], n_documents: int, n_samples: int, seq_len: int, seed: int) -> Tensor:
    """Return short documents, shuffled and joined, as windows (n, seq_len); n is less than `n_samples`.

    The first `n_samples` documents of the shuffled order that are neither empty nor longer than a window are taken.

    Args:
        tokens_of: the tokens (L,) of a document, stripped.
        n_documents: how many there are.
        n_samples: documents to take.
        seq_len: tokens per window.
        seed: seed of the shuffle.

    Raises:
        UserError: there are too few such documents.

    Source: Lin et al., AWQ (arXiv 2306.00978), its code's sampling of the Pile's validation split.
    """
    taken: list[Tensor] = []
    for index in np.random.default_rng(seed).permutation(n_documents):
        tokens = tokens_of(int(index))
        if 0 < tokens.numel() <= seq_len:
            taken.append(tokens)
        if len(taken) == n_samples:
            break
    joined = torch.cat(taken) if taken else torch.empty(0)
    if len(taken) < n_samples or joined.numel() < seq_len:
        raise UserError(
            f"calibration: {len(taken)} of {n_documents} documents have 1 to {seq_len} tokens, {joined.numel()} in all;"
            f" {n_samples} documents were asked for, and they must fill at least one window"
        )
    return joined[: joined.numel() // seq_len * seq_len].reshape(-1, seq_len)
