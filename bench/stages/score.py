"""score: a cell's per-item log-likelihoods, per-token losses, and their means."""

from __future__ import annotations

import os
from statistics import fmean
from typing import Any

from bench.config.params import Params
from bench.config.protocol import Protocol
from bench.store.files import read_json, write_json
from bench.store.items import Item, write_items
from bench.store.paths import ITEMS, MANIFEST, RECORD, SUMMARY, corpus_folder, score_folder
from bench.store.progress import note_progress
from bench.store.record import timed_record
from swq.files import atomic_folder
from swq.identity import fingerprint


def score(params: Params, key: str) -> str:
    """Make scores/KEY: items.jsonl, token_losses/, summary.json, and record.json beside them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything scored lies in data/; nothing may reach for a hub
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Here, because they import libraries that read these variables once.
    from bench import runtime
    from bench.inputs.models import ModelRecord
    from bench.scoring.harness import score_tasks
    from bench.scoring.model import open_model
    from bench.scoring.perplexity import write_token_losses

    fabric, protocol = runtime.start(params.runtime), params.protocol
    corpus = corpus_folder(protocol.corpus)
    manifest = read_json(corpus / MANIFEST)
    model_record = ModelRecord.load(params.cells[key].model)
    tokenizer = model_record.tokenizer()
    with atomic_folder(score_folder(key)) as folder:
        facts = {"device": str(fabric.device), "corpus": manifest, "scored_with": params.scored_with()}
        with timed_record(folder / RECORD, cell=key, **facts) as record:
            note_progress("texts", 0, 2)
            model = open_model(model_record, key, protocol.dtype, fabric.device)
            perplexities = write_token_losses(model, tokenizer, corpus, protocol, fabric.device, folder)
            note_progress("tasks", 1, 2)
            items, record["task_versions"] = score_tasks(model, tokenizer, protocol, corpus)
        write_items(folder / ITEMS, items)
        summary = {
            "protocol_sha256": protocol_hash(protocol, manifest, record["task_versions"]),
            "model_sha256": model_record.sha256,
            "perplexity": perplexities,
            "diverged": None in perplexities.values() or any(item.diverged for item in items),
            "tasks": {task: _task_means([i for i in items if i.task == task]) for task in protocol.tasks},
        }
        write_json(folder / SUMMARY, summary)
    shown = ", ".join("diverged" if value is None else f"{value:.2f}" for value in perplexities.values())
    return f"cell {key}: perplexity {shown}, {len(items)} items scored"


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
