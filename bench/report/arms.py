"""Every arm of the plan beside each of its placebos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.analysis.placebo import beyond_placebo
from bench.analysis.rows import Measured, Row
from bench.config.plan import row_of
from bench.report.pooled import pooled_row


def beside_placebos(measured: Measured) -> Iterator[tuple[Row, str]]:
    """Yield each arm's row, with what it recovers beyond a placebo, and the name of the placebo's row; at last the
    pooled ones."""
    params, plan = measured.params, measured.params.plan
    if plan is None:
        return
    arms = plan.arms
    for row in measured.rows:
        for placebo in arms.get(row_of(params.suite, row.cell, row.keys[0]), ()):
            beyond = beyond_placebo(params, measured.results, row.keys, placebo)
            if beyond:
                yield replace(row, recovered=beyond), placebo
    for place, placebos in enumerate(zip(*(arms[arm] for arm in plan.pooled), strict=False)):
        if whole := pooled_row(measured, place):
            yield whole, ", ".join(placebos)
