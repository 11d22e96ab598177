"""A causal LM that runs as a whole while only some of its blocks are in memory."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from swq.models.adapter import DecoderModel
from swq.models.weights import n_bytes


def stream(model: DecoderModel, device: torch.device, budget: int) -> tuple[PreTrainedModel, int]:
    """Make a model whose weights are on disk ready to run on `device`.

    As many blocks as fit stay there. In every forward pass, each other block is read just before it runs and freed
    afterwards. So what the model computes does not depend on the budget.

    Args:
        model: its blocks must be empty.
        device: where it runs.
        budget: bytes that its weights may take there.

    Returns:
        the LM, and how many of its blocks stay.
    """
    model.fill_rest(device)
    sizes = [n_bytes(block, model.dtype) for block in model.blocks]
    left = budget - n_bytes(model.model, model.dtype) + sum(sizes)  # what is outside the blocks is there already
    # Unless all blocks stay, the one that is being read needs room too.
    resident = len(sizes) if sum(sizes) <= left else max(0, int((left - max(sizes)) // max(sizes)))
    for index, block in enumerate(model.blocks):
        if index < resident:
            model.fill_block(index, device)
        else:
            block.register_forward_pre_hook(lambda *_, index=index: model.fill_block(index, device))
            block.register_forward_hook(lambda *_, index=index: model.empty_block(index))
    return model.model, resident
