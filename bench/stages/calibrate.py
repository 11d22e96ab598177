"""calibrate: the tokens that blocks are reconstructed on."""

from __future__ import annotations

import torch

from bench.config import Params
from bench.models import ModelRecord, tokenize
from bench.paths import calibration_folder, corpus_folder
from bench.records import read_json
from swq.calibration import sample_windows
from swq.checkpoint import write_tensors
from swq.files import atomic_folder


def calibrate(params: Params, key: str) -> str:
    """Make data/calibrations/KEY/tokens.safetensors: (n_samples, seq_len) int64, and in its header what decided it."""
    settings = params.calibrations[key]
    record = ModelRecord.load(settings.model)
    passages = read_json(corpus_folder(settings.corpus) / "texts/calibration.json")
    manifest = read_json(corpus_folder(settings.corpus) / "manifest.json")
    token_ids = torch.tensor(tokenize(record.tokenizer(), passages))
    tokens = sample_windows(token_ids, settings.n_samples, settings.seq_len, settings.seed)
    header = settings.model_dump() | {
        "text_sha256": manifest["texts"]["calibration"],
        "tokenizer_sha256": record.tokenizer_sha256,
    }
    with atomic_folder(calibration_folder(key)) as folder:
        write_tensors(folder / "tokens.safetensors", {"tokens": tokens}, header)
    return f"calibration {key}: {tuple(tokens.shape)} of {token_ids.numel()} tokens"
