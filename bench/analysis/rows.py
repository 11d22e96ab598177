"""Rows of a table: one cell, or all cells that differ only in their seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev

from bench.analysis.compare import changed_answers, compared, recovered_by
from bench.analysis.recovery import McNemar, Recovery
from bench.analysis.results import CellResult, load_results
from bench.config.cell import Cell
from bench.config.labels import labels, row_name
from bench.config.params import Params


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
        keys: its cells, one per seed.
        name: the key of its numbers in `metrics.json`.
        cell: the first of them; everything in it but its seeds holds for all.
        label: its name for people.
        base: the label of the row that it is compared with, if any.
        results: of those cells that were run.
        recovered: in each measure, over the seeds that can be compared; None if none can.
        changed: the answers that changed against the base, by task; empty if no seed can be compared.
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

    @property
    def retried(self) -> list[str]:
        """Which blocks of which cells were not trained as the recipe says, for people."""
        return [f"{r.key}: block {', '.join(r.retried_blocks)}" for r in self.results if r.retried_blocks]

    def perplexity(self, text: str) -> Spread | None:
        """Return the perplexity on a text; None if it was not run or diverged with some seed."""
        return self._spread(lambda result: result.summary["perplexity"][text])

    def accuracy(self, task: str) -> Spread | None:
        return self._spread(lambda result: result.summary["tasks"][task]["acc"])

    def mean_accuracy(self) -> Spread | None:
        return self._spread(lambda result: result.mean_accuracy)

    def mean_margin(self) -> Spread | None:
        return self._spread(lambda result: result.mean_margin)

    def mean_log_probability(self) -> Spread | None:
        return self._spread(lambda result: result.mean_log_probability)

    def divergence(self, text: str) -> Spread | None:
        """Return the mean KL divergence from full precision on a text, in nats a token; None as `perplexity`."""
        return self._spread(lambda result: result.summary["divergence"][text])

    def different_codes(self) -> Spread | None:
        """Return the share of codes that are not the base's; None if they were not counted for every seed."""
        return self._spread(lambda result: result.different_codes)

    def _spread(self, of: Callable[[CellResult], float | None]) -> Spread | None:
        values = [of(result) for result in self.results]
        finite = [value for value in values if value is not None]
        if not finite or len(finite) < len(values):
            return None
        return Spread(fmean(finite), stdev(finite) if len(finite) > 1 else None)


@dataclass(frozen=True)
class Measured:
    """A suite's measurements: what a table or a plot is made from.

    Attributes:
        params: the configuration.
        results: of the cells that were run with it, by key.
        rows: in the order of the suite's cells, those that were not run included.
    """

    params: Params
    results: dict[str, CellResult]
    rows: list[Row]

    @property
    def run(self) -> list[Row]:
        """The rows of which at least one cell was run."""
        return [row for row in self.rows if row.results]


def measured(params: Params) -> Measured:
    """Read a suite's scores and bring them into rows.

    Raises:
        UserError: cells that share a table were scored on different data.
    """
    results = load_results(params)
    return Measured(params, results, rows_of(params, results))


def rows_of(params: Params, results: dict[str, CellResult]) -> list[Row]:
    """Return the suite's rows in the order of its cells, those that were not run included."""
    called = labels(params)
    found = []
    for keys in params.seed_groups():
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
