"""Per-token losses on a protocol's texts, the perplexity that they make, and the divergence from full precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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
from bench.store.paths import token_divergences_file, token_losses_file
from bench.store.resume import State
from swq.perplexity import token_divergences, token_losses

OpenModel = Callable[[], PreTrainedModel]

MAX_LOSS = 700.0  # nats a token; exp of more overflows


@dataclass(frozen=True)
class TextScores:
    """What a model scored on texts.

    Attributes:
        perplexity: by text; None where the model diverged.
        divergence: by text, the mean KL divergence from full precision in nats a token, on the windows on which it was
            asked for; None where the model diverged. Empty if the protocol asks for none.
    """

    perplexity: dict[str, float | None]
    divergence: dict[str, float | None]


def score_texts(
    open_model: OpenModel,
    open_reference: OpenModel | None,
    tokenizer: PreTrainedTokenizerBase,
    protocol: Protocol,
    corpus: Path,
    device: torch.device,
    state: State,
    scores: Path,
) -> TextScores:
    """Write every text's losses, (windows, seq_len - 1) float32 in nats, and its divergences, and return their means.

    Models are opened only if some window is not in `state`.

    Args:
        open_model: returns the model that is scored.
        open_reference: returns the model in full precision; None if that is what is scored: it does not diverge from
            itself.
        tokenizer: their tokenizer.
        protocol: which windows of which texts.
        corpus: the folder of the texts.
        device: where the models are.
        state: keeps finished windows.
        scores: the folder to write to.
    """
    settings = protocol.perplexity
    found = TextScores({}, {})
    for name, sampling in settings.texts.items():
        text = Text(corpus, name, tokenizer, settings.start_token)
        windows = scored_windows(text, sampling, settings.seq_len)
        n_compared = min(settings.kl_windows or 0, len(windows))

        pieces = []
        for index, window in enumerate(tqdm(windows, desc="perplexity", unit="window")):
            make = partial(_scores_of, window, device, open_model, open_reference, index < n_compared)
            pieces.append(state.piece(f"text_{name}_{index:05d}", make)[0])
        losses = _written(token_losses_file(scores, name), [piece["losses"] for piece in pieces])
        found.perplexity[name] = perplexity(losses)
        if n_compared:
            compared = [piece["divergences"] for piece in pieces[:n_compared]]
            mean = float(_written(token_divergences_file(scores, name), compared).mean(dtype=np.float64))
            found.divergence[name] = mean if math.isfinite(mean) else None
    return found


def _scores_of(
    window: Tensor, device: torch.device, open_model: OpenModel, open_reference: OpenModel | None, compared: bool
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    found = {"losses": token_losses(open_model(), window, device)}
    if compared and open_reference is None:
        found["divergences"] = torch.zeros_like(found["losses"])
    elif compared and open_reference is not None:
        found["divergences"] = token_divergences(open_reference(), open_model(), window, device)
    return found, {}


def _written(path: Path, rows: list[Tensor]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = torch.stack(rows).numpy()
    path.parent.mkdir(exist_ok=True)
    np.save(path, values)
    return values


def perplexity(losses: NDArray[np.float32]) -> float | None:
    """Return the perplexity of losses in nats a token, None where the model diverged."""
    mean = float(losses.mean(dtype=np.float64))
    return math.exp(mean) if mean < MAX_LOSS else None  # NaN compares false
