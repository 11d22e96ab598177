"""The one exception that means "the user's input is wrong", shown as a single line without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong input: names what was given, what is allowed, and where.

    Front ends print the message alone and exit non-zero.
    """


def one_of(kind: str, given: object, allowed: Iterable[str]) -> str:
    """Return one line saying that `given` is not a valid `kind`, with the nearest valid name and the whole list."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {given!r}{hint} (allowed: {', '.join(names)})"
