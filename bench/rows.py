"""Rows of a table: a cell, or the cells that differ in their seeds alone, as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from bench.cell import Cell
from bench.config import Params
from bench.results import CellResult, compared, labels, recovered_by, row_name
from bench.statistics import McNemar, Recovery, mcnemar


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, and the standard deviation from seed to seed where there are several."""

    mean: float
    deviation: float | None

    def show(self, digits: int, factor: float = 1.0, deviation: bool = True) -> str:
        text = f"{factor * self.mean:.{digits}f}"
        return f"{text} ± {factor * self.deviation:.{digits}f}" if deviation and self.deviation is not None else text


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        keys: its cells, one a seed.
        name: what its numbers stand under in `metrics.json`.
        cell: the first of them; what it says but for seeds goes for all.
        label: its name for people.
        base: the label of the row that it is compared with, if any.
        results: of those that were run.
        recovered: in each measure, over the seeds that can be compared; None if none can.
        changed: the answers that changed against the base, by task; empty likewise.
    """

    keys: tuple[str, ...]
    name: str
    cell: Cell
    label: str
    base: str | None
    results: list[CellResult]
    recovered: dict[str, Recovery] | None
    changed: dict[str, McNemar]

    @property
    def n_diverged(self) -> int:
        return sum(result.diverged for result in self.results)

    def perplexity(self, text: str) -> Spread | None:
        """Return the perplexity on a text; None if it was not run or diverged with some seed."""
        return self._spread(lambda result: result.summary["perplexity"][text])

    def accuracy(self, task: str) -> Spread | None:
        return self._spread(lambda result: result.summary["tasks"][task]["acc"])

    def mean_accuracy(self) -> Spread | None:
        return self._spread(lambda result: result.mean_accuracy)

    def mean_margin(self) -> Spread | None:
        return self._spread(lambda result: result.mean_margin)

    def _spread(self, of: Callable[[CellResult], float | None]) -> Spread | None:
        values = [of(result) for result in self.results]
        finite = [value for value in values if value is not None]
        if not finite or len(finite) < len(values):
            return None
        return Spread(fmean(finite), stdev(finite) if len(finite) > 1 else None)


def rows(params: Params, results: dict[str, CellResult]) -> list[Row]:
    """Return the suite's rows in the order of its cells, those that were not run included.

    Raises:
        UserError: cells that are to be compared were scored on different documents.
    """
    called = labels(params)
    found = []
    for keys in params.rows():
        base = params.report.baselines.get(keys[0])
        found.append(
            Row(
                keys=keys,
                name=row_name(params, keys),
                cell=params.cells[keys[0]],
                label=called[keys[0]],
                base=None if base is None else called[base],
                results=[results[key] for key in keys if key in results],
                recovered=recovered_by(params, results, keys),
                changed=changed_answers(compared(params, results, keys)),
            )
        )
    return found


def changed_answers(pairs: list[tuple[CellResult, CellResult]]) -> dict[str, McNemar]:
    """Return by task, and over all of them, how many documents are answered better and worse than by the base.

    With several seeds a document counts once: as better if more seeds became right on it than became wrong.
    """
    if not pairs:
        return {}
    base, treated = ([result.measure("accuracy") for result in side] for side in zip(*pairs, strict=True))
    tasks = list(pairs[0][0].summary["tasks"])
    gained = {
        task: np.sum([t[place] - b[place] for b, t in zip(base, treated, strict=True)], axis=0)
        for place, task in enumerate(tasks)
    }
    return {name: mcnemar(values) for name, values in gained.items()} | {
        "all": mcnemar(np.concatenate(list(gained.values())))
    }
