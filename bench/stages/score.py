"""score: a cell's per-item log-likelihoods, per-token losses, and their means."""

from __future__ import annotations

import os
from functools import cache
from itertools import count
from statistics import fmean
from typing import Any

from bench.config.params import Params
from bench.config.protocol import Protocol
from bench.imports import importing
from bench.store.checksums import check, seal
from bench.store.code import code_of
from bench.store.files import read_json, write_json
from bench.store.items import Item, write_items
from bench.store.paths import (
    ITEMS,
    MANIFEST,
    QUANTIZED,
    RECORD,
    SUMMARY,
    artefact_folder,
    corpus_folder,
    score_folder,
    used_of,
)
from bench.store.progress import note_progress
from bench.store.record import timed_record
from bench.store.resume import State
from bench.store.stage_output import say
from swq.files import atomic_folder
from swq.identity import fingerprint


def score(params: Params, key: str) -> str:
    """Make scores/KEY: items.jsonl, token_losses/, token_divergences/, summary.json, and record.json beside them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything scored lies in data/; nothing may reach for a hub
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Here, because they import libraries that read these variables once.
    with importing():
        from bench import runtime
        from bench.inputs.models import ModelRecord
        from bench.scoring.harness import score_tasks
        from bench.scoring.model import open_model
        from bench.scoring.perplexity import score_texts

    device, protocol, model_key = runtime.start(params.runtime), params.protocol, params.cells[key].model
    corpus = corpus_folder(protocol.corpus)
    check(corpus, used_of(corpus, protocol.perplexity.texts, protocol.tasks))
    artefact_sha256 = check(artefact_folder(key), [QUANTIZED])[QUANTIZED]
    manifest = read_json(corpus / MANIFEST)
    model_record = ModelRecord.load(model_key)
    model_record.check_weights(model_key)
    model_record.check_tokenizer(model_key)
    tokenizer = model_record.tokenizer()
    state = State(
        f"score@{key}",
        {
            "settings": params.scored_with(),
            "artefact_sha256": artefact_sha256,
            "model_sha256": model_record.sha256,
            "tokenizer_sha256": model_record.tokenizer_sha256,
            "corpus": manifest,
            "machine": runtime.machine(device),
            "code": code_of("score"),
        },
    )
    if finished := len(state.pieces.names()):
        say(f"{state.stage} continues: {finished} windows and tasks were finished")
    opened = cache(lambda: open_model(model_record, key, protocol.dtype, device))
    reference = cache(lambda: open_model(model_record, None, protocol.dtype, device))
    is_quantized = params.cells[key].scheme is not None
    with atomic_folder(score_folder(key)) as folder:
        facts = {"device": str(device), "corpus": manifest, "scored_with": params.scored_with()}
        with timed_record(folder / RECORD, state, cell=key, **facts) as record:
            done, parts = count(len(protocol.tasks)), 2 * len(protocol.tasks)  # texts take about as long as tasks
            note_progress("texts", 0, parts)
            texts = score_texts(
                opened, reference if is_quantized else None, tokenizer, protocol, corpus, device, state, folder
            )
            reference.cache_clear()  # only texts are compared with it
            note_progress("tasks", next(done), parts)
            scores = score_tasks(
                opened, tokenizer, protocol, corpus, state, lambda: note_progress("tasks", next(done), parts)
            )
            record["task_versions"], record["choices_one_by_one"] = scores.versions, scores.unpacked
        write_items(folder / ITEMS, scores.items)
        summary = {
            "protocol_sha256": protocol_hash(protocol, manifest, scores.versions),
            "model_sha256": model_record.sha256,
            "perplexity": texts.perplexity,
            **({"divergence": texts.divergence} if texts.divergence else {}),
            "diverged": None in texts.perplexity.values() or any(item.diverged for item in scores.items),
            "tasks": {task: _task_means([i for i in scores.items if i.task == task]) for task in protocol.tasks},
        }
        write_json(folder / SUMMARY, summary)
        seal(folder)
    state.made(score_folder(key))
    shown = ", ".join("diverged" if value is None else f"{value:.2f}" for value in texts.perplexity.values())
    return f"cell {key}: perplexity {shown}, {len(scores.items)} items scored"


def _task_means(items: list[Item]) -> dict[str, Any]:
    diverged = any(item.diverged for item in items)
    return {
        "acc": None if diverged else fmean(item.correct for item in items),
        "margin": None if diverged else fmean(item.margin for item in items),
        "n_items": len(items),
    }


def protocol_hash(protocol: Protocol, manifest: dict[str, Any], versions: dict[str, Any]) -> str:
    """Identify everything about scoring that is the same for every cell: settings, texts, tasks and their versions."""
    data = {name: manifest["tasks"].get(name) for name in protocol.tasks}
    texts = {name: manifest["texts"][name] for name in protocol.perplexity.texts}
    return fingerprint([protocol.as_data(), texts, data, versions])
