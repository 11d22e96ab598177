"""train-model: a small model trained here, for families that no bundled model belongs to."""

from __future__ import annotations

from dataclasses import replace

from bench import runtime
from bench.config.params import Params
from bench.imports import importing
from bench.inputs.models import ModelRecord
from bench.prepare.corpus import without_overlap
from bench.prepare.packages import scratch
from bench.prepare.readers import read_corpus
from bench.store.code import code_of
from bench.store.paths import RECORD, model_folder
from bench.store.record import timed_record
from bench.store.resume import State
from swq.files import atomic_folder
from swq.identity import fingerprint


def train_model(params: Params, key: str) -> str:
    """Make data/models/KEY: weights, tokenizer, the model's record, and what the training cost."""
    settings = params.trainings[key]
    device = runtime.start(params.runtime)
    runtime.keep_freed_memory()
    with importing():
        from bench.stages import small_opt

    with scratch() as cache:
        corpus = read_corpus(params.corpora[settings.corpus], cache)
        kept, removed = without_overlap(replace(corpus, calibration=corpus.training))
        passages: list[str] = kept[:]["text"]
    state = State(
        f"train-model@{key}",
        {
            "settings": settings.model_dump(),
            "passages": fingerprint(passages),
            "machine": runtime.machine(device),
            "code": code_of("train-model"),
        },
    )
    with atomic_folder(model_folder(key)) as folder:
        with timed_record(folder / RECORD, state, model=key, passages=len(passages), removed=removed) as record:
            loss = small_opt.train(settings, passages, device.type, state, folder / "weights")
            record["loss"] = loss
        model = ModelRecord.of_folder(folder / "weights", f"trained here on {settings.corpus}, seed {settings.seed}")
        replace(model, weights=str(model_folder(key) / "weights")).save(folder)
    state.made(model_folder(key))
    return f"model {key}: {model.sha256[:12]}, last loss {loss:.3f} nats per token"
