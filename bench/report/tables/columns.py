"""Columns that several tables share: those that a row begins with, and how numbers are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.analysis.compare import MEASURES
from bench.analysis.recovery import MIN_SEEDS, Interval, Recovery
from bench.analysis.rows import Row, Spread
from bench.config.params import Params
from bench.config.tasks import scored_tasks

NOT_RUN = "not run"
DIVERGED = "diverged"
RETRIED = "†"  # marks a row of which a block was not trained as the recipe says
MEDIANS = "‡"  # marks a share by medians over windows
# What a measure is called, and its unit: by how much it is multiplied, and what stands behind it.
CALLED = {
    "accuracy": "accuracy",
    "log_perplexity": "log-perplexity",
    "log_probability": "log-probability",
    "divergence": "KL divergence",
}
UNITS = {"accuracy": (100, " pt"), "log_perplexity": (1, ""), "log_probability": (1, " sd"), "divergence": (1, "")}


class Naming:
    """The columns that a row begins with: its model if the suite has several, its label, its scheme, its seeds.

    Args:
        params: of the suite.
        seeds: returns a row's text about its seeds; None leaves the column out.
        always: show it even if no row has several seeds.
    """

    def __init__(self, params: Params, seeds: Callable[[Row], str] | None, always: bool = False) -> None:
        self._models = len({cell.model for cell in params.cells.values()}) > 1
        self._seeds = seeds if always or params.several_seeds else None
        names = ["cell", "scheme"]
        self.headers = [*(["model"] if self._models else []), *names, *(["seeds"] if self._seeds else [])]

    def of(self, row: Row) -> list[str]:
        label = f"{row.label} {RETRIED}" if row.retried else row.label
        names = [*([row.cell.model] if self._models else []), label, str(row.cell.scheme or "")]
        return [*names, self._seeds(row)] if self._seeds else names


def seeds_run(row: Row) -> str:
    """Say with how many seeds a row was run."""
    return _of(len(row.results) or len(row.keys), len(row.keys))


def seeds_compared(row: Row) -> str:
    """Say how many seeds a row's shares are based on, and whether their intervals hold only for these."""
    if row.recovered is None:
        return seeds_run(row)
    n_seeds = row.recovered[MEASURES[0]].n_seeds
    return _of(n_seeds, len(row.keys)) + (", provisional" if n_seeds < MIN_SEEDS else "")


def _of(some: int, all_of_them: int) -> str:
    return str(some) if some == all_of_them else f"{some} of {all_of_them}"


def short(task: str) -> str:
    """Return a task's name in a column header."""
    return scored_tasks()[task].short if task in scored_tasks() else task


def show_share(recovered: dict[str, Recovery], measure: str) -> str:
    """Return a share in percent with its interval; if it is withheld, what was gained, in the measure's own unit."""
    measured, (factor, unit) = recovered[measure], UNITS[measure]
    mark = f" {MEDIANS}" if measured.medians else ""
    if measured.share is not None:
        return show_interval(measured.share, 100, 1) + mark
    return f"n/a ({show_interval(measured.gained, factor, 1 if factor > 1 else 3)}{unit}){mark}"


def by_medians(rows: Iterable[Row]) -> str:
    """Explain the mark of shares by medians, if there are some."""
    if not any(value.medians for row in rows for value in (row.recovered or {}).values()):
        return ""
    return (
        f" {MEDIANS} is by medians over windows of text: some of them collapsed, and then no interval of a mean holds,"
        " because how often windows collapse is not known from a few."
    )


def show_interval(interval: Interval, factor: float, digits: int) -> str:
    """Return `point [low, high]`, each times `factor`."""
    point, low, high = (factor * value for value in (interval.point, interval.low, interval.high))
    return f"{point:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def show_spread(spread: Spread | None, digits: int, factor: float = 1.0, deviation: bool = True) -> str:
    """Return a mean over seeds, with its deviation if there are several; None means that it diverged."""
    return DIVERGED if spread is None else spread.show(digits, factor, deviation)
