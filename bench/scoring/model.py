"""A cell's quantized model, ready to be scored."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from bench.inputs.models import ModelRecord
from bench.runtime import free_memory
from bench.store.paths import QUANTIZED, artefact_folder
from swq.checkpoint import Artefact
from swq.models.adapter import DecoderModel
from swq.streaming import stream


def open_model(record: ModelRecord, key: str | None, dtype: str, device: torch.device) -> PreTrainedModel:
    """Return cell `key`'s model on `device`; blocks that do not fit there are read when they run.

    Args:
        record: of the model that the cell was made from.
        key: the cell; None opens the model in full precision.
        dtype: of weights and activations.
        device: where it runs.

    Raises:
        UserError: the artefact is missing or damaged, or was made from another model than `record`.
    """
    kind = getattr(torch, dtype)
    if key is None:
        model = DecoderModel.open(record.folder, kind)
    else:
        artefact = Artefact.load(artefact_folder(key) / QUANTIZED)
        artefact.check_made_from(record.sha256)
        model = DecoderModel.open(record.folder, kind, artefact.over, artefact.biased)
    language_model, resident = stream(model, device, free_memory(device))
    if resident < len(model.blocks):
        print(
            f"{resident} of {len(model.blocks)} blocks fit on {device}; the others are read again in every forward pass"
        )
    return language_model
