"""SW beside its placebo: what SW recovers of what its base lost, beyond what a placebo recovers, seed by seed.

(SW - placebo) / (FP - base) is what `recovery` takes if gains are counted from the placebo and losses from the base.
All four are scored on the same items, and SW, placebo and base share seed and calibration. So what one item or one seed
does to all of them cancels.
"""

from __future__ import annotations

from bench.analysis.compare import Triple, compared, full_precision, measures, recovered, strata
from bench.analysis.recovery import Recovery
from bench.analysis.results import CellResult
from bench.config.params import Params
from bench.config.plan import placebo_of
from bench.config.seeds import SeedGroup


def beyond_placebo(
    params: Params, results: dict[str, CellResult], keys: SeedGroup, placebo: str
) -> dict[str, Recovery] | None:
    """Return, in each measure, what cells recover beyond the cells of a placebo's row; each cell is a seed.

    A seed is left out if one of its cells was not run or diverged. None if no seed is left.
    """
    reference, found = full_precision(params, results, keys), with_placebo(params, results, keys, placebo)
    if reference is None or not found:
        return None
    return {name: recovered(strata(reference, found, name), name) for name in measures(params)}


def with_placebo(params: Params, results: dict[str, CellResult], keys: SeedGroup, placebo: str) -> list[Triple]:
    """Return the base, the cell and its placebo of every cell that can be compared with both."""
    found = []
    for base, treated in compared(params, results, keys):
        beside = results.get(placebo_of(params.suite, params.cells, treated.key, placebo) or "")
        if beside is not None and not beside.diverged:
            found.append((base, treated, beside))
    return found
