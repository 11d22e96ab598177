"""Answers that a row gets right and its base wrong, and the other way round, task by task."""

from __future__ import annotations

from bench.analysis.rows import Measured
from bench.render.table import Table
from bench.report.sections import CHANGED, TableView
from bench.report.tables.columns import Naming, short


def changes_table(measured: Measured) -> Table:
    """A row per row with a base: of each task's documents, how many are answered better and worse, with p-values."""
    naming, tasks = Naming(measured.params, None), [*measured.params.protocol.tasks, "all"]
    body = [
        [
            *naming.of(row),
            row.base or "",
            *(f"+{n.better} -{n.worse} ({n.p:.1g})" for n in map(row.changed.get, tasks) if n),
        ]
        for row in measured.rows
        if row.changed
    ]
    return Table(body, [*naming.headers, "base", *map(short, tasks)], left=len(naming.headers) + 1)


def what_changed_means(measured: Measured) -> str:
    """Say what is counted, and what the p-values mean."""
    seeds = (
        " With several seeds a document counts once: as better if more seeds became right on it than wrong."
        if measured.params.several_seeds
        else ""
    )
    return (
        "Documents answered better and worse than by the base. The number in brackets is the p-value of the exact"
        " McNemar test, two-sided: how often chance alone gives a split this uneven. It holds for these trainings and"
        f" is not corrected for the number of tests.{seeds}"
    )


VIEW = TableView(CHANGED, changes_table, what_changed_means)
