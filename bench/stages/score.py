"""score: a cell's per-item log-likelihoods, per-token losses, and their means."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.config import Params, Protocol
from bench.models import ModelRecord
from bench.paths import artefact_folder, corpus_folder, score_folder
from bench.records import read_json, recording, write_json
from swq.files import atomic_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.harness import Item

MAX_LOSS = 700.0  # nats a token; exp of more overflows


def score(params: Params, key: str) -> str:
    """Make scores/KEY: items.jsonl, token_losses/, summary.json, and record.json beside them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything scored lies in data/; nothing may reach for a hub
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from bench import runtime
    from bench.harness import score_tasks, write_items

    fabric = runtime.start(params.runtime)
    corpus = corpus_folder(params.protocol.corpus)
    manifest = read_json(corpus / "manifest.json")
    model_record = ModelRecord.load(params.cells[key].model)
    tokenizer = model_record.tokenizer()
    with atomic_folder(score_folder(key)) as folder:
        facts = {"device": str(fabric.device), "corpus": manifest, "scored_with": params.scored_with()}
        with recording(folder / "record.json", cell=key, **facts) as stage:
            model = _open_model(model_record, key, params.protocol.dtype, fabric.device)
            (folder / "token_losses").mkdir()
            perplexity = _write_token_losses(
                model, tokenizer, corpus, params.protocol, fabric.device, folder / "token_losses"
            )
            items, stage["task_versions"] = score_tasks(model, tokenizer, params.protocol, corpus / "tasks")
        write_items(folder / "items.jsonl", items)
        summary = {
            "protocol_sha256": protocol_hash(params.protocol, manifest, stage["task_versions"]),
            "model_sha256": model_record.sha256,
            "perplexity": perplexity,
            "diverged": None in perplexity.values() or any(item.diverged for item in items),
            "tasks": {task: _task_means([i for i in items if i.task == task]) for task in params.protocol.tasks},
        }
        write_json(folder / "summary.json", summary)
    return f"cell {key}: perplexity {perplexity}, {len(items)} items scored"


def _open_model(record: ModelRecord, key: str, dtype: str, device: torch.device) -> PreTrainedModel:
    """Return the cell's model, ready to run on `device`; blocks that do not fit there are read as they are needed."""
    import torch

    from bench.runtime import free_memory
    from swq.checkpoint import Artefact
    from swq.models.adapter import DecoderModel
    from swq.models.streaming import stream

    artefact = Artefact.load(artefact_folder(key) / "quantized.safetensors")
    artefact.check_made_from(record.sha256)
    model = DecoderModel.open(record.folder, getattr(torch, dtype), artefact.over)
    language_model, resident = stream(model, device, free_memory(device))
    if resident < len(model.blocks):
        print(f"{resident} of {len(model.blocks)} blocks fit on {device}; the others are read again at every pass")
    return language_model


def _write_token_losses(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Path,
    protocol: Protocol,
    device: torch.device,
    folder: Path,
) -> dict[str, float | None]:
    """Write every text's losses, token_losses/TEXT.npy (windows, seq_len - 1), and return its perplexity."""
    from bench.texts import Text, scored_windows
    from swq.perplexity import token_losses

    found: dict[str, float | None] = {}
    for name, settings in protocol.perplexity.texts.items():
        windows = scored_windows(Text(corpus, name, tokenizer), settings, protocol.perplexity.seq_len)
        losses = token_losses(model, windows, device).numpy()
        np.save(folder / f"{name}.npy", losses)
        found[name] = _perplexity(losses)
    return found


def _perplexity(losses: NDArray[np.float32]) -> float | None:
    """Return the perplexity, None where the model diverged."""
    mean = float(losses.mean(dtype=np.float64))
    return math.exp(mean) if mean < MAX_LOSS else None  # NaN compares false


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
    state = [protocol.model_dump(), texts, data, versions]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
