"""The suite's main tables on the console, without the prose around them."""

from __future__ import annotations

import re

from bench.report.sections import EFFECT, QUALITY, RECOVERED
from bench.store.paths import PAGE, TABLE, result_folder
from swq.errors import UserError

TABLES = re.compile(r"(?:^\|.*\n?)+", re.MULTILINE)
SHOWN = (EFFECT, QUALITY, RECOVERED)  # sections


def show(suite: str) -> str:
    """Return the suite's main tables, and where the rest is.

    Raises:
        UserError: the suite has no report yet.
    """
    path = result_folder(suite) / TABLE
    if not path.is_file():
        raise UserError(f"there is no {path} yet; `python -m bench run` makes it")
    parts = []
    for section in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if title in SHOWN:
            parts += [title, *(table.rstrip() for table in TABLES.findall(body))]
    where = f"How to read them: docs/reading-a-report.md. Everything else: {path.with_name(PAGE)}"
    return "\n\n".join([*parts, where])
