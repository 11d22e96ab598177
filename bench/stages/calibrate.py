"""calibrate: the tokens that blocks are reconstructed on."""

from __future__ import annotations

from bench.config import Params
from bench.models import ModelRecord
from bench.paths import calibration_folder, corpus_folder
from bench.records import read_json
from bench.texts import Text, calibration_samples
from swq.checkpoint import write_tensors
from swq.files import atomic_folder


def calibrate(params: Params, key: str) -> str:
    """Make data/calibrations/KEY/tokens.safetensors: (n, seq_len) int64, and in its header what decided it."""
    settings = params.calibrations[key]
    record = ModelRecord.load(settings.model)
    text = Text(corpus_folder(settings.corpus), settings.text, record.tokenizer())
    manifest = read_json(corpus_folder(settings.corpus) / "manifest.json")
    tokens = calibration_samples(text, settings)
    header = settings.model_dump() | {
        "text_sha256": manifest["texts"][settings.text],
        "tokenizer_sha256": record.tokenizer_sha256,
    }
    with atomic_folder(calibration_folder(key)) as folder:
        write_tensors(folder / "tokens.safetensors", {"tokens": tokens}, header)
    n_passages = text.n_passages
    return f"calibration {key}: {tokens.shape[0]} x {tokens.shape[1]} tokens of {n_passages} passages"
