"""One share over the arms that a plan pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.analysis.compare import Pair, Triple, compared, full_precision, measures, strata
from bench.analysis.median_windows import median_recovery, n_collapsed
from bench.analysis.placebo import with_placebo
from bench.analysis.recovery import Recovery, Stratum, recovery
from bench.analysis.rows import Measured, Row
from bench.config.params import Params
from bench.config.plan import Plan, row_of
from bench.published.pooled import pooled


def pooled_row(measured: Measured, place: int | None = None) -> Row | None:
    """Return the pooled arms as one row, beside their bases or beside the placebos that stand at a place of each arm.

    It has the seeds that all of them have. None if nothing is pooled, or one of them was not run: which came first must
    not decide.
    """
    params, plan = measured.params, measured.params.plan
    if plan is None:
        return None
    rows = [row for row in measured.rows if row_of(params.suite, row.cell, row.keys[0]) in plan.pooled]
    recovered = _recovered(measured, plan, rows, place)
    if not recovered:
        return None
    first, schemes = rows[0], {row.cell.scheme for row in rows}
    cell = first.cell if len(schemes) == 1 else first.cell.model_copy(update={"scheme": None})
    label = f"pooled: {', '.join(dict.fromkeys(row.label for row in rows))}"
    return replace(first, name=f"{params.suite}-pooled", label=label, cell=cell, results=[], recovered=recovered)


def _recovered(measured: Measured, plan: Plan, rows: list[Row], place: int | None) -> dict[str, Recovery] | None:
    params = measured.params
    settings = [_seeds(measured, plan, row, place) for row in rows]
    everywhere = [seed for seed in (settings[0] if settings else ()) if all(seed in found for found in settings)]
    reference = full_precision(params, measured.results, rows[0].keys) if rows else None
    if reference is None or not everywhere:
        return None
    alike = [[found[seed] for seed in everywhere] for found in settings]
    return {name: _of([strata(reference, found, name) for found in alike], name) for name in measures(params)}


def _of(settings: list[list[Stratum]], measure: str) -> Recovery:
    """Return what is recovered over settings: by medians if windows of a single one collapse, which a mean may hide."""
    by_medians = measure == "log_perplexity" and any(n_collapsed(setting) for setting in settings)
    return median_recovery(pooled(settings)) if by_medians else recovery(pooled(settings))


def _seeds(measured: Measured, plan: Plan, row: Row, place: int | None) -> dict[tuple[int, int], Pair | Triple]:
    """Return what can be compared of a row, by the seed of the cell and that of its calibration."""
    params, results = measured.params, measured.results
    found: Sequence[Pair | Triple] = compared(params, results, row.keys)
    if place is not None:
        placebo = plan.arms[row_of(params.suite, row.cell, row.keys[0])][place]
        found = with_placebo(params, results, row.keys, placebo)
    return {_seed(params, pair[1].key): pair for pair in found}


def _seed(params: Params, key: str) -> tuple[int, int]:
    cell = params.cells[key]
    return cell.seed, params.calibrations[cell.calibration].seed
