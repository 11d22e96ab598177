"""Perplexity by the GPTQ protocol: one long text, windows without context across them. And KL divergence on windows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from swq.errors import UserError

POSITIONS_AT_ONCE = 512  # bounds the float32 copy of the logits


def text_windows(token_ids: Tensor, seq_len: int, n_windows: int | None) -> Tensor:
    """Cut (L,) tokens into the first `n_windows` windows (n, seq_len); None takes all complete windows.

    Raises:
        UserError: the text is too short.
    """
    available = token_ids.numel() // seq_len
    wanted = available if n_windows is None else n_windows
    if wanted < 1 or wanted > available:
        raise UserError(
            f"perplexity: the text has {token_ids.numel()} tokens, {available} windows of {seq_len};"
            f" {wanted} were asked for"
        )
    return token_ids[: wanted * seq_len].reshape(wanted, seq_len)


@torch.no_grad()
def token_losses(model: nn.Module, window: Tensor, device: torch.device) -> Tensor:
    """Return the negative log-likelihood, in nats, of every token of a window except its first.

    The mean over all windows is the logarithm of the perplexity. Every window has the same number of tokens, so it
    equals the mean of the windows' means that the GPTQ code takes.

    Args:
        model: a causal LM.
        window: (T,) int64.
        device: where the model is.

    Returns:
        (T - 1,) float32 on the CPU.

    Source: Frantar et al., GPTQ (arXiv 2210.17323), evaluation on raw WikiText2.
    """
    logits = _logits(model, window, device)
    targets = window[1:].to(device)
    pieces = zip(logits.split(POSITIONS_AT_ONCE), targets.split(POSITIONS_AT_ONCE), strict=True)
    return torch.cat([cross_entropy(part.float(), goal, reduction="none") for part, goal in pieces]).cpu()


@torch.no_grad()
def token_divergences(reference: nn.Module, model: nn.Module, window: Tensor, device: torch.device) -> Tensor:
    """Return KL(reference || model) of the next token's distribution, in nats, at every token of a window but the last.

    It sees the whole distribution, where a loss sees one token's probability.

    Args:
        reference: the causal LM in full precision.
        model: the quantized one.
        window: (T,) int64.
        device: where both are.

    Returns:
        (T - 1,) float32 on the CPU.
    """
    both = (_logits(lm, window, device).split(POSITIONS_AT_ONCE) for lm in (reference, model))
    pieces = []
    for full, quantized in zip(*both, strict=True):
        wanted, given = (part.float().log_softmax(dim=-1) for part in (full, quantized))
        pieces.append((wanted.exp() * (wanted - given)).sum(dim=-1))
    return torch.cat(pieces).cpu()


def _logits(model: nn.Module, window: Tensor, device: torch.device) -> Tensor:
    """Return the logits (T - 1, vocabulary) that predict every token of a window except its first."""
    logits: Tensor = model(window[None].to(device), use_cache=False).logits[0, :-1]
    return logits
