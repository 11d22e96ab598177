"""A suite's scores brought together: one `CellResult` a row, and what each recovers of what another lost."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from bench.cell import Cell
from bench.config import Params
from bench.harness import Item, read_items
from bench.paths import artefact_folder, score_folder
from bench.records import read_json
from bench.statistics import Array, Recovery, Stratum, recovery
from swq.errors import UserError
from swq.methods import METHODS
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.tesseraq import TesseraQ

NAMES = {"fp": "FP", "rtn": "RTN", "awq": "AWQ", "omniquant": "OmniQuant", "tesseraq": "TesseraQ"}
MEASURES = ("accuracy", "log_perplexity", "margin")


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
        """Whether some number that was measured is not finite; then nothing is a share of anything."""
        return self.summary["diverged"]

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
        """Return the per-item values of a measure, a stratum a task or a text, higher is better.

        A text's items are its windows: they share no context, while tokens of one window do. A window whose first token
        a quantized model does not cope with is lost to its end.
        """
        if name == "log_perplexity":
            return [-losses.mean(axis=1, dtype=np.float64) for losses in self.token_losses.values()]
        pick = (lambda item: float(item.correct)) if name == "accuracy" else (lambda item: item.margin)
        return [np.array([pick(i) for i in self.items if i.task == task]) for task in self.summary["tasks"]]


def load_results(params: Params) -> dict[str, CellResult]:
    """Read the scores of the suite's cells, of those that were made and scored as params.yaml says now.

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
        raise UserError(f"these cells were scored under different protocols and share no table: {groups}")
    return results


def recovered_by(params: Params, results: dict[str, CellResult], keys: tuple[str, ...]) -> dict[str, Recovery] | None:
    """Return what cells recover in each measure of what their baselines lost; each cell is a seed.

    Cells that were not run, whose base or full precision was not, or of which one diverged, are left out; None if that
    leaves none.

    Raises:
        UserError: cells were scored on different documents.
    """
    reference = params.reference(keys[0])
    pairs = compared(params, results, keys)
    if reference is None or reference not in results or results[reference].diverged or not pairs:
        return None
    return _compare(results[reference], pairs)


def compared(
    params: Params, results: dict[str, CellResult], keys: tuple[str, ...]
) -> list[tuple[CellResult, CellResult]]:
    """Return the base and the cell of every cell that can be compared with its base.

    Raises:
        UserError: they were scored on different documents.
    """
    pairs = []
    for key in keys:
        base = params.report.baselines.get(key)
        if base is not None and {key, base} <= results.keys():
            pairs.append((results[base], results[key]))
    finite = [pair for pair in pairs if not any(result.diverged for result in pair)]
    _check_documents([result for pair in finite for result in pair])
    return finite


def _check_documents(results: list[CellResult]) -> None:
    if len({tuple((i.task, i.doc_hash) for i in result.items) for result in results}) > 1:
        keys = ", ".join(result.key for result in results)
        raise UserError(f"these cells were scored on different documents and cannot be compared: {keys}")


def _compare(reference: CellResult, pairs: list[tuple[CellResult, CellResult]]) -> dict[str, Recovery]:
    """Return what the second of each pair recovers of what the first lost, in every measure; a pair is a seed."""
    _check_documents([reference, *(result for pair in pairs for result in pair)])

    def strata(name: str) -> list[Stratum]:
        whole = reference.measure(name)
        bases, treated = ([result.measure(name) for result in side] for side in zip(*pairs, strict=True))
        return [
            Stratum(values, np.stack([b[place] for b in bases]), np.stack([t[place] for t in treated]))
            for place, values in enumerate(whole)
        ]

    return {name: recovery(strata(name)) for name in MEASURES}


def labels(params: Params) -> dict[str, str]:
    """Return every cell's name for people, e.g. `OmniQuant (LET) + SW`; rows that share it add from their keys."""
    rows = params.rows()
    names = {keys: (label(cell := params.cells[keys[0]]), cell.scheme, cell.model) for keys in rows}
    twins = [name for name, count in Counter(names.values()).items() if count > 1]  # epochs or weights apart
    called = {
        keys: f"{names[keys][0]} ({_own_part(params, keys)})" if names[keys] in twins else names[keys][0]
        for keys in rows
    }
    return {key: called[keys] for keys in rows for key in keys}


def _own_part(params: Params, keys: tuple[str, ...]) -> str:
    """Return a row's key without what the table says anyway: suite, model, scheme and seed."""
    cell, key = params.cells[keys[0]], row_name(params, keys)
    for part in (params.suite, cell.model, cell.scheme):
        key = key.removeprefix(f"{part}-")
    return key


def row_name(params: Params, keys: tuple[str, ...]) -> str:
    """Return a row's first key, without the seed that a grid puts behind it if that is no other row's name."""

    if len(keys) == 1:
        return keys[0]

    def short(row: tuple[str, ...]) -> str:
        return re.sub(r"-s\d+$", "", row[0])

    alone = short(keys) not in params.cells and [short(row) for row in params.rows()].count(short(keys)) == 1
    return short(keys) if alone else keys[0]


def label(cell: Cell) -> str:
    """Return a cell's name for people; cells that differ in numbers alone share it."""
    name = _method_label(cell.method)
    return f"{name} + SW" if cell.has_sw else name


def _method_label(method: Method) -> str:
    """Name a method and what of its settings makes it another one: LET, where TesseraQ starts."""
    key = next(key for key, kind in METHODS.items() if type(method) is kind)
    parts = [part for field, part in (("let", "LET"), ("let_shift", "shift")) if getattr(method, field, False)]
    if isinstance(method, AWQ) and not method.scale:
        parts.append("clips only")
    if isinstance(method, TesseraQ) and method.start != TesseraQ().start:
        parts.append(f"from {_method_label(method.start)}")
    return f"{NAMES.get(key, key)} ({', '.join(parts)})" if parts else NAMES.get(key, key)


def _load(params: Params, key: str) -> CellResult | None:
    scores, artefacts = score_folder(key), artefact_folder(key)
    if not (scores / "summary.json").is_file() or not (artefacts / "record.json").is_file():
        return None
    records = {"reconstruct": read_json(artefacts / "record.json"), "score": read_json(scores / "record.json")}
    made, scored = records["reconstruct"], records["score"]
    if made["recipe"] != params.cells[key].describe() or made["made_with"] != params.made_with(key):
        return None  # it was edited since
    if scored["scored_with"] != params.scored_with():
        return None  # the protocol was
    with (artefacts / "losses.csv").open(newline="") as handle:
        losses = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(handle)]
    summary = read_json(scores / "summary.json")
    return CellResult(
        key=key,
        summary=summary,
        items=read_items(scores / "items.jsonl"),
        token_losses={name: np.load(scores / f"token_losses/{name}.npy") for name in summary["perplexity"]},
        losses=losses,
        bits_per_weight=records["reconstruct"]["bits_per_weight"],
        wall_seconds=sum(record["wall_seconds"] for record in records.values()),
        peak_host_bytes=max(record["peak_memory_bytes"]["host"] for record in records.values()),
        records=records,
    )
