"""JSON files, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swq.errors import UserError
from swq.files import write_text


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN is refused, because a metric that is NaN differs from itself forever."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}; run the stage that writes it") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Read JSON that must be a mapping.

    Raises:
        UserError: as `read_json`, or it is none.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no mapping; run the stage that writes it")
    return value
