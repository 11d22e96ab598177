"""A recipe as data, so that results of different recipes can be told apart, today and years later.

Fields at their default are left out. So a later version can add a field whose default changes nothing, and everything
made before keeps its identity.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def as_data(value: Any) -> Any:
    """Return a value as JSON would hold it; a dataclass by its class's name and the fields not at their default.

    Raises:
        TypeError: it holds something that JSON cannot express.
    """
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: as_data(getattr(value, f.name)) for f in fields(value) if not _at_default(value, f)}
        return {"is": type(value).__name__} | given
    if isinstance(value, dict):
        return {str(key): as_data(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} {value!r} is not data")


def fingerprint(data: Any) -> str:
    """Return the hex SHA-256 of a JSON value, whatever order its keys were given in."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _at_default(value: Any, field: Field[Any]) -> bool:
    if field.default is not MISSING:
        return bool(getattr(value, field.name) == field.default)
    return field.default_factory is not MISSING and bool(getattr(value, field.name) == field.default_factory())
