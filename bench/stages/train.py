"""train-model: a small model trained here, for families that no bundled model belongs to."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

from bench import runtime
from bench.config import Params
from bench.corpus import without_overlap
from bench.models import ModelRecord
from bench.paths import RESUME, model_folder
from bench.records import recording
from bench.stages.fetch import read_corpus
from swq.files import atomic_folder, sha256_file


def train_model(params: Params, key: str) -> str:
    """Make data/models/KEY: weights, tokenizer, the model's record, and what the training cost."""
    settings = params.trainings[key]
    fabric = runtime.start(params.runtime)
    import torch

    from bench import training

    corpus = read_corpus(params.corpora[settings.corpus])
    passages, removed = without_overlap(replace(corpus, calibration=corpus.training))
    code = [sha256_file(Path(file)) for file in (__file__, str(training.__file__))]
    decides = [settings.model_dump(), str(fabric.device), params.runtime.threads, torch.__version__, code, passages]
    state = RESUME / hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:32]
    with atomic_folder(model_folder(key)) as folder:
        with recording(folder / "record.json", model=key, passages=len(passages), removed=removed) as stage:
            stage["loss"] = training.train(settings, passages, fabric.device.type, state, folder / "weights")
        record = ModelRecord.of_folder(folder / "weights", f"trained here on {settings.corpus}, seed {settings.seed}")
        replace(record, weights=str(model_folder(key) / "weights")).save(folder)
    shutil.rmtree(state, ignore_errors=True)
    return f"model {key}: {record.sha256[:12]}, last loss {stage['loss']:.3f} nats a token"
