"""A suite's scores: one `CellResult` for each cell that was run with the current params.yaml."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bench.analysis.recovery import Array
from bench.config.params import Params
from bench.store.checksums import SUMS, check
from bench.store.files import read_json
from bench.store.items import Item, read_items
from bench.store.paths import ITEMS, LOSSES, RECORD, SUMMARY, artefact_folder, score_folder, token_losses_file
from swq.errors import UserError


@dataclass(frozen=True)
class CellResult:
    """Everything measured about one cell."""

    key: str
    summary: dict[str, Any]
    items: list[Item]
    token_losses: dict[str, Array]
    losses: list[dict[str, float]]
    bits_per_weight: float | None
    wall_seconds: float
    peak_host_bytes: int
    records: dict[str, Any]

    @property
    def diverged(self) -> bool:
        """Whether some measured number is not finite; then the cell is not compared with others."""
        return self.summary["diverged"]

    @property
    def retried_blocks(self) -> list[str]:
        """Blocks that were trained a second time at a lower rate than the recipe's, as their loss was not finite."""
        return list(self.records.get("reconstruct", {}).get("retried_blocks", {}))

    @property
    def mean_accuracy(self) -> float | None:
        """Unweighted mean of the tasks' `acc`; None if one diverged."""
        return self._mean("acc")

    @property
    def mean_margin(self) -> float | None:
        """Unweighted mean over tasks of the mean margin of the right choice, in nats; None if one diverged."""
        return self._mean("margin")

    def _mean(self, name: str) -> float | None:
        values = [task[name] for task in self.summary["tasks"].values()]
        return None if None in values else fmean(values)

    def measure(self, name: str) -> list[Array]:
        """Return the per-item values of a measure, one stratum per task or text; higher is better.

        A text's items are its windows: they share no context, while tokens of one window do. If a quantized model
        breaks down on a window's first token, the whole window is lost.
        """
        if name == "log_perplexity":
            return [-losses.mean(axis=1, dtype=np.float64) for losses in self.token_losses.values()]
        pick = (lambda item: float(item.correct)) if name == "accuracy" else (lambda item: item.margin)
        return [np.array([pick(i) for i in self.items if i.task == task]) for task in self.summary["tasks"]]


def load_results(params: Params) -> dict[str, CellResult]:
    """Read the scores of those of the suite's cells that were made and scored with the current params.yaml.

    Raises:
        UserError: two cells were scored on different data, or by different versions of a task.
    """
    loaded = {key: _load(params, key) for key in params.cells}
    results = {key: result for key, result in loaded.items() if result is not None}
    protocols: dict[str, list[str]] = {}
    for key, result in results.items():
        protocols.setdefault(result.summary["protocol_sha256"], []).append(key)
    if len(protocols) > 1:
        groups = "; ".join(f"{sha[:12]}: {', '.join(keys)}" for sha, keys in protocols.items())
        raise UserError(f"these cells were scored under different protocols and cannot share a table: {groups}")
    return results


def _was_made(folder: Path) -> bool:
    """Say whether a stage ended here, also if one of the two files is lost: the cell must not look as if never run."""
    return (folder / RECORD).exists() or (folder / SUMS).exists()


def _load(params: Params, key: str) -> CellResult | None:
    scores, artefacts = score_folder(key), artefact_folder(key)
    if not _was_made(scores) or not _was_made(artefacts):
        return None
    for folder in (artefacts, scores):  # first: a damaged record would make the cell look like one that was edited
        check(folder, [RECORD])
    records = {"reconstruct": read_json(artefacts / RECORD), "score": read_json(scores / RECORD)}
    if records["reconstruct"].get("identity") != params.identity(key):
        return None  # the cell was edited since
    if records["score"].get("scored_with") != params.scored_with():
        return None  # the protocol was edited since
    check(artefacts, [LOSSES])
    check(scores, [SUMMARY, ITEMS])
    with (artefacts / LOSSES).open(newline="") as handle:
        rows = csv.DictReader(handle)  # a field is empty where a share of the gradient was not measured
        losses = [{name: float(value) for name, value in row.items() if value} for row in rows]
    summary = read_json(scores / SUMMARY)
    token_losses = {name: token_losses_file(scores, name) for name in summary["perplexity"]}
    check(scores, [str(path.relative_to(scores)) for path in token_losses.values()])
    return CellResult(
        key=key,
        summary=summary,
        items=read_items(scores / ITEMS),
        token_losses={name: np.load(path) for name, path in token_losses.items()},
        losses=losses,
        bits_per_weight=records["reconstruct"]["bits_per_weight"],
        wall_seconds=sum(record["wall_seconds"] for record in records.values()),
        peak_host_bytes=max(record["peak_memory_bytes"]["host"] for record in records.values()),
        records=records,
    )
