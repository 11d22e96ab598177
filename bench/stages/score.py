"""score: a cell's per-item log-likelihoods, per-token losses, and their means."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bench.config import Params, Protocol
from bench.models import ModelRecord, tokenize
from bench.paths import artefact_folder, corpus_folder, score_folder
from bench.records import read_json, recording, write_json

MAX_LOSS = 700.0  # nats a token; exp of more overflows


def score(params: Params, key: str) -> str:
    """Make scores/KEY: items.jsonl, token_losses.npy, summary.json, and record.json beside them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything scored lies in data/; nothing may reach for a hub
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    from bench import runtime
    from bench.harness import score_tasks, write_items
    from swq.checkpoint import Artefact
    from swq.models.adapter import DecoderModel
    from swq.perplexity import text_windows, token_losses

    fabric = runtime.start(params.runtime)
    folder = score_folder(key)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    corpus = corpus_folder(params.protocol.corpus)
    manifest = read_json(corpus / "manifest.json")
    record = ModelRecord.load(params.cells[key].model)
    tokenizer = record.tokenizer()
    with recording(folder / "record.json", cell=key, device=str(fabric.device)) as stage:
        model = DecoderModel.load(Path(record.weights)).model
        Artefact.load(artefact_folder(key) / "quantized.safetensors").apply(model, record.sha256)
        model.to(fabric.device)
        passages = read_json(corpus / "texts/perplexity.json")
        windows = text_windows(
            torch.tensor(tokenize(tokenizer, passages)),
            params.protocol.perplexity.seq_len,
            params.protocol.perplexity.n_windows,
        )
        losses = token_losses(model, windows, fabric.device).numpy()
        items, stage["task_versions"] = score_tasks(model, tokenizer, params.protocol, corpus / "tasks")
    np.save(folder / "token_losses.npy", losses)
    write_items(folder / "items.jsonl", items)
    mean_loss = float(losses.mean(dtype=np.float64))
    tasks = {
        task: {
            "acc": fmean(item.correct for item in items if item.task == task),
            "margin": fmean(item.margin for item in items if item.task == task),
            "n_items": sum(item.task == task for item in items),
        }
        for task in params.protocol.tasks
    }
    summary = {
        "protocol_sha256": protocol_hash(params.protocol, manifest, stage["task_versions"]),
        "model_sha256": record.sha256,
        "perplexity": math.exp(mean_loss) if mean_loss < MAX_LOSS else None,
        "diverged": not mean_loss < MAX_LOSS,  # NaN compares false
        "tasks": tasks,
    }
    write_json(folder / "summary.json", summary)
    accuracy = fmean(task["acc"] for task in tasks.values())
    return f"cell {key}: perplexity {summary['perplexity']}, mean accuracy {accuracy:.4f}"


def protocol_hash(protocol: Protocol, manifest: dict[str, Any], versions: dict[str, Any]) -> str:
    """Identify everything about scoring that is the same for every cell: settings, texts, tasks and their versions."""
    data = {name: manifest["tasks"].get(name) for name in protocol.tasks}
    state = [protocol.model_dump(), manifest["texts"]["perplexity"], data, versions]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
