"""calibrate: the tokens that blocks are reconstructed on."""

from __future__ import annotations

from bench.config.params import Params
from bench.inputs.models import ModelRecord
from bench.inputs.texts import Text, calibration_samples
from bench.inputs.tokens import write_tokens
from bench.store.checksums import check
from bench.store.files import read_json
from bench.store.paths import MANIFEST, calibration_file, corpus_folder, used_of
from swq.files import atomic_folder


def calibrate(params: Params, key: str) -> str:
    """Make data/calibrations/KEY/tokens.safetensors: (n, seq_len) int64. Its header names what decided them."""
    settings = params.calibrations[key]
    record = ModelRecord.load(settings.model)
    record.check_tokenizer(settings.model)
    corpus = corpus_folder(settings.corpus)
    check(corpus, used_of(corpus, [settings.text]))
    text = Text(corpus, settings.text, record.tokenizer(), settings.start_token)
    manifest = read_json(corpus / MANIFEST)
    tokens = calibration_samples(text, settings)
    inputs = {"text_sha256": manifest["texts"][settings.text], "tokenizer_sha256": record.tokenizer_sha256}
    path = calibration_file(key)
    with atomic_folder(path.parent) as folder:
        write_tokens(folder / path.name, tokens, settings, **inputs)
    return f"calibration {key}: {tokens.shape[0]} x {tokens.shape[1]} tokens of {text.n_passages} passages"
