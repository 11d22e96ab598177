"""Lists of names in a sentence."""

from __future__ import annotations

from collections.abc import Collection


def few(names: Collection[str], at_most: int) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(list(names)[:at_most]) + more
