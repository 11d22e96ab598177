"""The perplexity that a model card states, measured on windows of a text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from lightning.fabric import Fabric
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from swq.errors import UserError
from swq.perplexity import token_losses

NOT_MEASURED = "not measured: `swq export`, given `--perplexity TEXT`, measures it"


@dataclass(frozen=True)
class Windows:
    """What perplexity is measured on.

    Attributes:
        tokens: (N, T) int64, windows that follow each other in a text.
        source: what they are from, for people, such as a file's name.
    """

    tokens: Tensor
    source: str

    def check(self, model: PreTrainedModel) -> None:
        """Raise unless a model can read the windows.

        Raises:
            UserError: their shape or dtype is not that of windows, they are longer than the model's context, or a
                token is not in its vocabulary.
        """
        tokens, config = self.tokens, model.config.get_text_config()
        if tokens.dim() != 2 or tokens.is_floating_point() or not len(tokens) or tokens.shape[1] < 2:
            given = f"{tokens.dtype} {tuple(tokens.shape)}"
            raise UserError(f"perplexity: windows must be whole numbers of shape (windows, tokens >= 2), not {given}")
        context = getattr(config, "max_position_embeddings", None)
        if context and tokens.shape[1] > context:
            length = tokens.shape[1]
            raise UserError(
                f"perplexity: windows of {length} tokens are more than the model takes (allowed: up to {context})"
            )
        if int(tokens.min()) < 0 or int(tokens.max()) >= config.vocab_size:
            raise UserError(f"perplexity: tokens must be from 0 to {config.vocab_size - 1}, as the model's are")

    @property
    def described(self) -> str:
        """Their text, number, length and tokens, for the card."""
        number, length = self.tokens.shape
        windows = f"{number} window{'s' if number > 1 else ''} of {length} tokens"
        return f"on {windows} ({self.tokens.numel():,} in all) of {self.source}"


def measure_perplexity(model: PreTrainedModel, windows: Windows, fabric: Fabric) -> float:
    """Return exp of the mean loss over every token of the windows except each one's first; inf if the model diverged.

    Windows share no context, as in the GPTQ protocol (swq/perplexity.py). The model runs in its own dtype, on Fabric's
    device, and is on the CPU afterwards.
    """
    model.eval().to(fabric.device)
    bar = tqdm(windows.tokens.long(), desc="perplexity", unit="window")
    losses = torch.stack([token_losses(model, window, fabric.device) for window in bar])
    model.cpu()
    mean = losses.double().mean().item()
    return math.exp(mean) if mean < 700 else math.inf  # NaN compares false


def perplexity_row(perplexity: float | None, windows: Windows | None, dtype: str) -> str:
    """Return what the card says of perplexity."""
    if perplexity is None or windows is None:
        return NOT_MEASURED
    value = f"{perplexity:.3f}" if math.isfinite(perplexity) else "none: the model diverged"
    return (
        f"{value} {windows.described}, computed in {dtype} from the weights of these files; windows share no context,"
        " and all tokens but each window's first are predicted"
    )
