"""Rows of which no cell was run, a line for each model and scheme."""

from __future__ import annotations

from bench.analysis.rows import Measured, Row
from bench.render.table import Table
from bench.report.sections import NOT_RUN, TableView

EXPLAINED = "The command runs what is missing of the line; `python -m bench estimate` says how long that takes."


def not_run_table(measured: Measured) -> Table:
    """A line for each model and scheme of which a row is missing, with the command that runs it."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in measured.rows:
        if not row.results:
            groups.setdefault((row.cell.model, str(row.cell.scheme or "")), []).append(row)
    body = [
        [model, scheme, ", ".join(row.label for row in rows), str(sum(len(row.keys) for row in rows)), command]
        for (model, scheme), rows in groups.items()
        for command in [f"`python -m bench run --model {model}{f' --scheme {scheme}' if scheme else ''}`"]
    ]
    return Table(body, ["model", "scheme", "rows", "cells", "command"], left=3)


VIEW = TableView(NOT_RUN, not_run_table, lambda _: EXPLAINED)
