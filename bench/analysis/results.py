"""A suite's results: one `CellResult` for each cell that has a raw file of the current params.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from bench.analysis.current import difference
from bench.analysis.recovery import Array
from bench.config.params import Params
from bench.store.items import Item
from bench.store.raw import RawCell, raw_file, read_raw
from swq.errors import UserError
from swq.identity import fingerprint

# Of a scored document, by the measure's name; higher is better.
OF_ITEM: dict[str, Callable[[Item], float]] = {
    "accuracy": lambda item: float(item.correct),
    "log_probability": lambda item: item.log_probability,
}


@dataclass(frozen=True)
class CellResult:
    """Everything measured about one cell.

    Attributes:
        window_losses: (n_windows,) means in nats per token, by text.
        window_divergences: the same of the KL divergence from full precision, on the windows on which it was measured.
        different_codes: share of the codes that are not its base's; None if they were not counted.
        losses: of every epoch of every block.
    """

    key: str
    summary: dict[str, Any]
    items: list[Item]
    window_losses: dict[str, Array]
    losses: list[dict[str, float]]
    bits_per_weight: float | None
    wall_seconds: float
    peak_host_bytes: int
    records: dict[str, Any]
    window_divergences: dict[str, Array] = field(default_factory=dict)
    different_codes: float | None = None

    @property
    def diverged(self) -> bool:
        """Whether some measured number is not finite; then the cell is not compared with others."""
        return self.summary["diverged"]

    @property
    def retried_blocks(self) -> list[str]:
        """Blocks that were trained a second time at a lower rate than the recipe's, as their loss was not finite."""
        return list(self.records.get("reconstruct", {}).get("retried_blocks", {}))

    @property
    def resumed(self) -> bool:
        """Whether a stage was stopped and continued: its time is then put together from several runs."""
        return any("resumed_seconds" in record for record in self.records.values())

    @property
    def mean_accuracy(self) -> float | None:
        """Unweighted mean of the tasks' `acc`; None if one diverged."""
        return self._mean("acc")

    @property
    def mean_margin(self) -> float | None:
        """Unweighted mean over tasks of the mean margin of the right choice, in nats; None if one diverged."""
        return self._mean("margin")

    @property
    def mean_log_probability(self) -> float | None:
        """Unweighted mean over tasks of the right choice's log-probability, in nats; None if one diverged."""
        if self.mean_margin is None:
            return None
        return fmean(float(values.mean()) for values in self.measure("log_probability"))

    def _mean(self, name: str) -> float | None:
        values = [task[name] for task in self.summary["tasks"].values()]
        return None if None in values else fmean(values)

    def measure(self, name: str) -> list[Array]:
        """Return the per-item values of a measure, one stratum per task or text; higher is better.

        A text's items are its windows: they share no context, while tokens of one window do. If a quantized model
        breaks down on a window's first token, the whole window is lost.
        """
        if name == "log_perplexity":
            return [-losses for losses in self.window_losses.values()]
        if name == "divergence":
            return [-divergences for divergences in self.window_divergences.values()]
        pick = OF_ITEM[name]
        return [np.array([pick(i) for i in self.items if i.task == task]) for task in self.summary["tasks"]]


def load_results(params: Params) -> dict[str, CellResult]:
    """Read the raw files of those of the suite's cells that were made and scored with the current params.yaml.

    Raises:
        UserError: a raw file is damaged; or two cells were scored on different data or by different versions of a task,
            or made from different weights of one model.
    """
    results = {}
    for key in params.cells:
        path = raw_file(params.suite, key)
        if path.exists():
            raw = read_raw(path)
            if raw.cell != key:
                raise UserError(f"{path} is that of another cell, {raw.cell!r}")
            if difference(params, key, raw) is None:  # else the cell or the protocol was edited since
                results[key] = result_of(raw)
    _check_alike(params, results)
    return results


def _check_alike(params: Params, results: dict[str, CellResult]) -> None:
    """Check what a configuration cannot tell: that the cells' data and their models' weights have the same hashes."""
    _check_one("were scored under different protocols", results.values(), lambda r: r.summary["protocol_sha256"])
    _check_one("were scored on different documents or windows", results.values(), scored_on)
    for model in dict.fromkeys(params.cells[key].model for key in results):
        own = [result for key, result in results.items() if params.cells[key].model == model]
        _check_one(f"were made from different weights of model {model}", own, lambda r: r.summary["model_sha256"])


def scored_on(result: CellResult) -> str:
    """Return the SHA-256 of what a cell was scored on: documents, right choices, numbers of choices and of windows."""
    documents = [[item.task, item.doc_hash, item.gold, len(item.log_likelihoods)] for item in result.items]
    windows = [{text: len(v) for text, v in of.items()} for of in (result.window_losses, result.window_divergences)]
    return fingerprint([documents, windows])


def _check_one(what: str, results: Iterable[CellResult], of: Callable[[CellResult], str]) -> None:
    groups: dict[str, list[str]] = {}
    for result in results:
        groups.setdefault(of(result), []).append(result.key)
    if len(groups) > 1:
        said = "; ".join(f"{sha[:12]}: {', '.join(keys)}" for sha, keys in groups.items())
        raise UserError(f"these cells {what} and cannot share a table: {said}")


def _arrays(windows: Mapping[str, Sequence[float | None]]) -> dict[str, Array]:
    return {text: np.array(values, dtype=np.float64) for text, values in windows.items()}


def result_of(raw: RawCell) -> CellResult:
    records = raw.records.model_dump(exclude_unset=True)
    made, scored = raw.records.reconstruct, raw.records.score
    return CellResult(
        key=raw.cell,
        summary=raw.summary.model_dump(exclude_unset=True),
        items=raw.items,
        window_losses=_arrays(raw.window_losses),
        window_divergences=_arrays(raw.window_divergences),
        different_codes=raw.difference.share if raw.difference else None,
        losses=[{name: np.nan if v is None else v for name, v in row.items()} for row in raw.block_losses],
        bits_per_weight=made.bits_per_weight,
        wall_seconds=made.wall_seconds + scored.wall_seconds,
        peak_host_bytes=max(record.peak_memory_bytes["host"] for record in (made, scored)),
        records=records,
    )
