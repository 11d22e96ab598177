"""dvc.lock: what DVC knows of the stages that it ran."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

DVC_LOCK = Path("dvc.lock")


def text_of(path: Path = DVC_LOCK) -> str:
    """Return the text of a lock; nothing where it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


@lru_cache(maxsize=2)  # a stage asks for the same lock twice as it starts, and a long one takes seconds to read
def stages_in(text: str) -> dict[str, Any] | None:
    """Return the stages of a lock by name; None if it cannot be read.

    By the loader in Python, because the faster one in C ends the process where damage nests deeply.
    """
    try:
        stages = yaml.safe_load(text)["stages"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return stages if isinstance(stages, dict) else None
