"""Scores of cells that nobody ran, in the files that the stages leave."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np

from bench.config.params import Params
from bench.store.checksums import seal
from bench.store.files import read_json, write_json
from bench.store.items import Item, read_items, write_items
from bench.store.paths import artefact_folder, score_folder


def write_scores(
    params: Params,
    key: str,
    items: Iterable[Item],
    perplexity: float = 2.0,
    text: str = "perplexity",
    protocol: str = "p",
    model: str = "m",
    windows: Sequence[float] = (),
) -> None:
    """Write what a report reads of a cell, over what is there; `windows` are each window's mean loss, in nats."""
    windows = windows or (math.log(perplexity),)
    perplexity = math.exp(fmean(windows))
    scores, artefacts, items = score_folder(key), artefact_folder(key), list(items)
    (scores / "token_losses").mkdir(parents=True, exist_ok=True)
    artefacts.mkdir(parents=True, exist_ok=True)
    by_task = {task: [item for item in items if item.task == task] for task in dict.fromkeys(i.task for i in items)}
    tasks = {
        task: {"acc": fmean(i.correct for i in own), "margin": fmean(i.margin for i in own), "n_items": len(own)}
        for task, own in by_task.items()
    }
    hashes = {"protocol_sha256": protocol, "model_sha256": model}
    summary = hashes | {"perplexity": {text: perplexity}, "diverged": False, "tasks": tasks}
    write_json(scores / "summary.json", summary)
    write_items(scores / "items.jsonl", items)
    losses = np.array([windows], dtype=np.float32).T
    np.save(scores / f"token_losses/{text}.npy", np.repeat(losses, 4, axis=1))
    (artefacts / "losses.csv").write_text("block,epoch,loss\n")
    cost = {"wall_seconds": 1.0, "peak_memory_bytes": {"host": 1}, "bits_per_weight": None}
    write_json(scores / "record.json", cost | {"scored_with": params.scored_with()})
    made = {"identity": params.identity(key), "made_with": params.made_with(key)}
    write_json(artefacts / "record.json", cost | made)
    for folder in (scores, artefacts):
        seal(folder)


def diverge_on_text(key: str, text: str = "perplexity") -> None:
    """Let a cell have no finite loss on a text."""
    losses = score_folder(key) / f"token_losses/{text}.npy"
    np.save(losses, np.full_like(np.load(losses), np.inf))
    _diverge(key, perplexity={text: None})


def diverge_on_items(key: str) -> None:
    """Let a cell have no finite log-likelihood of any choice."""
    path = score_folder(key) / "items.jsonl"
    items = [replace(item, log_likelihoods=(None,) * len(item.log_likelihoods)) for item in read_items(path)]
    write_items(path, items)
    tasks = read_json(score_folder(key) / "summary.json")["tasks"]
    _diverge(key, tasks={task: means | {"acc": None, "margin": None} for task, means in tasks.items()})


def _diverge(key: str, **changes: Any) -> None:
    path = score_folder(key) / "summary.json"
    write_json(path, read_json(path) | {"diverged": True} | changes)
    seal(path.parent)


def note_resumed(key: str, seconds: float, wall_seconds: float) -> None:
    """Write down that scoring a cell was stopped and continued, and how long it took."""
    path = score_folder(key) / "record.json"
    write_json(path, read_json(path) | {"resumed_seconds": seconds, "wall_seconds": wall_seconds})
    seal(path.parent)


def note_retry(key: str, **blocks: str) -> None:
    """Write down that blocks of a cell were trained again at a lower rate, and why."""
    path = artefact_folder(key) / "record.json"
    write_json(path, read_json(path) | {"retried_blocks": blocks})
    seal(path.parent)


def note_plan(key: str, sha256: str | None) -> None:
    """Write down by which plan a cell was made and scored."""
    for folder in (artefact_folder(key), score_folder(key)):
        path = folder / "record.json"
        write_json(path, read_json(path) | {"provenance": {"plan_sha256": sha256}})
        seal(folder)
