"""Per-token losses on a protocol's texts, and the perplexity that they make."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.config.protocol import Protocol
from bench.inputs.texts import Text, scored_windows
from bench.store.paths import token_losses_file
from swq.perplexity import token_losses

MAX_LOSS = 700.0  # nats a token; exp of more overflows


def write_token_losses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Path,
    protocol: Protocol,
    device: torch.device,
    scores: Path,
) -> dict[str, float | None]:
    """Write every text's losses, (windows, seq_len - 1) float32 in nats, and return its perplexity by name."""
    found: dict[str, float | None] = {}
    for name, settings in protocol.perplexity.texts.items():
        windows = scored_windows(Text(corpus, name, tokenizer), settings, protocol.perplexity.seq_len)
        losses = token_losses(model, windows, device).numpy()
        path = token_losses_file(scores, name)
        path.parent.mkdir(exist_ok=True)
        np.save(path, losses)
        found[name] = perplexity(losses)
    return found


def perplexity(losses: NDArray[np.float32]) -> float | None:
    """Return the perplexity of losses in nats a token, None where the model diverged."""
    mean = float(losses.mean(dtype=np.float64))
    return math.exp(mean) if mean < MAX_LOSS else None  # NaN compares false
