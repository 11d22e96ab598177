"""Whether what was measured of a cell belongs to the current params.yaml, and in what it differs if not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.config.params import Params
from bench.config.strict import shown
from bench.store.raw import RawCell

Record = dict[str, Any]


def is_current(params: Params, key: str, made: Record, scored: Record) -> bool:
    """Compare the records of a cell's reconstruction and scoring with params.yaml."""
    return bool(made.get("identity") == params.identity(key) and scored.get("scored_with") == params.scored_with())


def difference(params: Params, key: str, raw: RawCell) -> str | None:
    """Name the first thing in which a raw file differs from cell `key` of params.yaml; None if it is that cell's.

    A cell may come from another machine, with other versions and costs. `another_plan` compares its plan: a report
    shows a cell of another plan and says so, and an import refuses it.
    """
    made, scored = raw.records.reconstruct.made_with, raw.records.score.scored_with
    for theirs, ours in ((made, params.made_with(key)), (scored, params.scored_with())):
        for name in dict.fromkeys((*ours, *theirs)):
            if theirs.get(name) != ours.get(name):
                place, given, wanted = next(_leaves(name, theirs.get(name), ours.get(name)))
                return f"another {name}: {place} is {_shown(given)}, and params.yaml has {_shown(wanted)}"
    return None


def another_plan(params: Params, records: Record) -> str | None:
    """Say that a cell was made or scored by another plan than that of params.yaml, or before it; None if it was not.

    A suite without a plan is bound to nothing.
    """
    wanted = params.plan
    if wanted is None:
        return None
    for stage in ("reconstruct", "score"):
        provenance = records.get(stage, {}).get("provenance")
        given = provenance.get("plan_sha256") if isinstance(provenance, dict) else None
        if given != wanted.sha256:
            return f"another plan: {stage} ran with {_shown(given)}, and params.yaml has {shown(wanted.sha256)}"
    return None


def _leaves(place: str, theirs: Any, ours: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the places in which two values differ, with what each holds there."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in dict.fromkeys((*ours, *theirs)):
            yield from _leaves(f"{place}.{name}", theirs.get(name), ours.get(name))
    elif theirs != ours:
        yield place, theirs, ours


def _shown(value: Any) -> str:
    return "none" if value is None else shown(value)
