"""Per-token losses on a protocol's texts, and the perplexity that they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.config.protocol import Protocol
from bench.inputs.texts import Text, scored_windows
from bench.store.paths import token_losses_file
from bench.store.resume import State
from swq.perplexity import token_losses

MAX_LOSS = 700.0  # nats a token; exp of more overflows


def write_token_losses(
    open_model: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
    corpus: Path,
    protocol: Protocol,
    device: torch.device,
    state: State,
    scores: Path,
) -> dict[str, float | None]:
    """Write every text's losses, (windows, seq_len - 1) float32 in nats, and return its perplexity by name.

    The model is opened only if some window is not in `state`.
    """
    found: dict[str, float | None] = {}
    for name, settings in protocol.perplexity.texts.items():
        windows = scored_windows(Text(corpus, name, tokenizer), settings, protocol.perplexity.seq_len)

        def make(window: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
            return {"losses": token_losses(open_model(), window, device)}, {}

        pieces = [
            state.piece(f"text_{name}_{index:05d}", partial(make, window))
            for index, window in enumerate(tqdm(windows, desc="perplexity", unit="window"))
        ]
        losses = torch.stack([tensors["losses"] for tensors, _ in pieces]).numpy()
        path = token_losses_file(scores, name)
        path.parent.mkdir(exist_ok=True)
        np.save(path, losses)
        found[name] = perplexity(losses)
    return found


def perplexity(losses: NDArray[np.float32]) -> float | None:
    """Return the perplexity of losses in nats a token, None where the model diverged."""
    mean = float(losses.mean(dtype=np.float64))
    return math.exp(mean) if mean < MAX_LOSS else None  # NaN compares false
