"""In what a suite's results depart from its plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.analysis.current import another_plan
from bench.analysis.rows import Measured
from bench.config.plan import Plan, planned_cells, row_of


def departures(measured: Measured, plan: Plan) -> list[str]:
    """Name what departs from the plan; nothing if all is as planned.

    A row, a seed or a measure that the suite does not have is refused before a run (`check_plan`). What is left is
    what was not run, what was run besides, and what was run by another plan, or before this one.
    """
    return [*_of_rows(measured, plan), *_of_cells(measured)]


def _of_rows(measured: Measured, plan: Plan) -> Iterator[str]:
    params = measured.params
    planned = planned_cells(plan, params.suite, params.cells, params.report.baselines)
    for row in measured.rows:
        if row.keys[0] not in planned:
            continue
        called = f"row {row_of(params.suite, row.cell, row.keys[0])} {row.cell.scheme}"
        if not row.results:
            yield f"{called} was not run"
            continue
        run = {params.cells[result.key].seed for result in row.results}
        diverged = {params.cells[result.key].seed for result in row.results if result.diverged}
        wanted = set(plan.seeds) if row.cell.recipe.needs_calibration else run  # RTN as a base has no seeds
        for what, seeds in (
            ("lacks", wanted - run),
            ("has more than planned:", run - wanted),
            ("diverged with", diverged),
        ):
            if seeds:
                yield f"{called} {what} {_listed(seeds)}"


def _of_cells(measured: Measured) -> Iterator[str]:
    """Say how many cells were run by another plan, and name the first: all of them would be a page."""
    results = measured.results
    other = [key for key, result in results.items() if another_plan(measured.params, result.records)]
    if other:
        yield f"{len(other)} of {len(results)} cells were run before this plan or by another one, {other[0]} among them"


def _listed(seeds: Iterable[int]) -> str:
    numbers = sorted(seeds)
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
