"""The suite's tables: what was measured, what was recovered and what it cost, and which answers changed."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from bench.config import Params
from bench.results import MEASURES
from bench.rows import Row, Spread
from bench.statistics import MIN_SEEDS, Interval, Recovery
from bench.table import Table

NOT_RUN = "not run"
DIVERGED = "diverged"
DTYPE_BITS = {"float32": "32", "float16": "16", "bfloat16": "16"}
SHORT = {"winogrande": "WinoG", "hellaswag": "HellaS", "arc_challenge": "ARC-c", "arc_easy": "ARC-e", "piqa": "PIQA"}
UNITS = {"accuracy": (100, " pt"), "log_perplexity": (1, ""), "margin": (1, "")}


def seeds_run(row: Row) -> str:
    """Say with how many seeds a row was run."""
    return _of(len(row.results) or len(row.keys), len(row.keys))


def seeds_compared(row: Row) -> str:
    """Say how many seeds a row's shares stand on, and whether their intervals hold for these alone."""
    if row.recovered is None:
        return seeds_run(row)
    n_seeds = row.recovered[MEASURES[0]].n_seeds
    return _of(n_seeds, len(row.keys)) + (", conditional" if n_seeds < MIN_SEEDS else "")


def _of(some: int, all_of_them: int) -> str:
    return str(some) if some == all_of_them else f"{some} of {all_of_them}"


class Naming:
    """What a row begins with: its model where the suite has several, its label, its scheme, its seeds.

    Args:
        params: of the suite.
        seeds: what is said of the seeds; None leaves them out.
        always: say it even where no row has several.
    """

    def __init__(self, params: Params, seeds: Callable[[Row], str] | None, always: bool = False) -> None:
        self._models = len({cell.model for cell in params.cells.values()}) > 1
        self._seeds = seeds if always or params.several_seeds else None
        names = ["cell", "scheme"]
        self.headers = [*(["model"] if self._models else []), *names, *(["seeds"] if self._seeds else [])]

    def of(self, row: Row) -> list[str]:
        names = [*([row.cell.model] if self._models else []), row.label, str(row.cell.scheme or "")]
        return [*names, self._seeds(row)] if self._seeds else names


def quality_table(params: Params, rows: list[Row]) -> Table:
    """A row per row: perplexity, accuracy per task, their mean, and the margin; the mean over seeds of each."""
    naming, tasks, texts = Naming(params, seeds_run), params.protocol.tasks, params.protocol.perplexity.texts
    width = len(texts) + len(tasks) + 2
    body = []
    for row in rows:
        cells = [NOT_RUN, *[""] * (width - 1)]
        if row.results:
            cells = [
                *(_show(row.perplexity(text), 2) for text in texts),
                *(_show(row.accuracy(task), 1, 100, deviation=False) for task in tasks),
                _show(row.mean_accuracy(), 2, 100),
                _show(row.mean_margin(), 3),
            ]
        body.append([*naming.of(row), *cells])
    of_texts = ["perplexity"] if len(texts) == 1 else [f"{text} ppl" for text in texts]
    headers = [*naming.headers, *of_texts, *map(short, tasks), "mean acc", "margin"]
    return Table(body, headers, left=len(naming.headers))


def recovery_table(params: Params, rows: list[Row]) -> Table:
    """A row per row: recovered shares with intervals, time, memory and stored bits."""
    naming = Naming(params, seeds_compared)
    body = []
    for row in rows:
        cells = [NOT_RUN, *[""] * (len(MEASURES) + 2)]
        if row.results:
            bits = row.results[0].bits_per_weight
            cells = [
                *(show_share(row.recovered, measure) if row.recovered else "" for measure in MEASURES),
                f"{fmean(result.wall_seconds for result in row.results) / 60:.1f}",
                f"{max(result.peak_host_bytes for result in row.results) / 2**30:.2f}",
                f"{bits:.3f}" if bits else DTYPE_BITS[params.protocol.dtype],
            ]
        body.append([*naming.of(row), row.base or "", *cells])
    shares_of = [f"of {measure.replace('_', '-')}" for measure in MEASURES]
    headers = [*naming.headers, "base", *shares_of, "minutes", "peak GiB", "bits/weight"]
    return Table(body, headers, left=len(naming.headers) + 1)


def changes_table(params: Params, rows: list[Row]) -> Table:
    """A row per row with a base: of each task's documents, how many are answered better and worse, by chance or not."""
    naming, tasks = Naming(params, None), [*params.protocol.tasks, "all"]
    body = [
        [
            *naming.of(row),
            row.base or "",
            *(f"+{n.better} -{n.worse} ({n.p:.1g})" for n in map(row.changed.get, tasks) if n),
        ]
        for row in rows
        if row.changed
    ]
    return Table(body, [*naming.headers, "base", *map(short, tasks)], left=len(naming.headers) + 1)


def short(task: str) -> str:
    return SHORT.get(task, task)


def show_share(recovered: dict[str, Recovery], measure: str) -> str:
    """Return a share in percent with its interval, or in its place what was gained, in the measure's own unit."""
    measured, (factor, unit) = recovered[measure], UNITS[measure]
    if measured.share is not None:
        return show_interval(measured.share, 100, 1)
    return f"n/a ({show_interval(measured.gained, factor, 1 if factor > 1 else 3)}{unit})"


def show_interval(interval: Interval, factor: float, digits: int) -> str:
    point, low, high = (factor * value for value in (interval.point, interval.low, interval.high))
    return f"{point:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _show(spread: Spread | None, digits: int, factor: float = 1.0, deviation: bool = True) -> str:
    return DIVERGED if spread is None else spread.show(digits, factor, deviation)
