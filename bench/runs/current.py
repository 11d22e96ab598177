"""Whether a cell's records say that it was made and scored with the current params.yaml."""

from __future__ import annotations

from typing import Any

from bench.config.params import Params

Record = dict[str, Any]


def is_current(params: Params, key: str, made: Record, scored: Record) -> bool:
    """Compare the records of a cell's reconstruction and scoring with params.yaml."""
    return bool(made.get("identity") == params.identity(key) and scored.get("scored_with") == params.scored_with())
