"""What a suite was run for, and whether it was run so."""

from __future__ import annotations

from bench.analysis.departures import departures
from bench.analysis.rows import Measured
from bench.report.tables.columns import CALLED


def as_planned(measured: Measured) -> list[str]:
    """Return the paragraphs about the plan; none without one."""
    plan = measured.params.plan
    if plan is None:
        return []
    called, found = f"plan `{plan.name}`, SHA-256 {plan.sha256[:12]}", departures(measured, plan)
    secondary = ", ".join(CALLED[measure] for measure in plan.secondary)
    beside = f", secondary {'are' if len(plan.secondary) > 1 else 'is'} {secondary}" if secondary else ""
    stands = f"Departs from the plan ({called}): {'; '.join(found)}." if found else f"As planned ({called})."
    return [
        f"{stands} Primary is {CALLED[plan.primary]}{beside}."
        + (f" Excluded by the plan: {' '.join(plan.exclusions)}" if plan.exclusions else "")
    ]
