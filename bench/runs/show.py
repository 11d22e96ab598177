"""The suite's main tables on the console, without the prose around them."""

from __future__ import annotations

import re

from bench.analysis.current import Record, difference, is_current
from bench.config.params import Params
from bench.preflight.words import few
from bench.report.sections import EFFECT, NOT_RUN, QUALITY, RECOVERED
from bench.store.checksums import SUMS, check
from bench.store.files import read_json
from bench.store.paths import PAGE, PROVENANCE, TABLE, result_folder
from bench.store.raw import raw_file, read_raw
from swq.errors import UserError

PLAN = re.compile(r"^(?:As planned|Departs from the plan) .*$", re.MULTILINE)  # as bench/report/plan.py writes it
MARKDOWN_TABLE = re.compile(r"(?:^\|.*\n?)+", re.MULTILINE)
SHOWN = (EFFECT, QUALITY, RECOVERED, NOT_RUN)  # sections


def show(params: Params) -> str:
    """Return the suite's main tables, whether it was run as planned, what params.yaml has left behind, and the rest.

    Raises:
        UserError: the suite has no report yet, or it is damaged.
    """
    folder = result_folder(params.suite)
    path = folder / TABLE
    if not path.is_file():
        raise UserError(f"there is no {path} yet; `python -m bench run` makes it")
    if (folder / SUMS).is_file():  # results that are committed may be older than checksums
        check(folder, [TABLE, PROVENANCE])
    parts = []
    for section in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if title in SHOWN:
            parts += [title, *(table.rstrip() for table in MARKDOWN_TABLE.findall(body)), *PLAN.findall(body)]
    stale, waiting, missing = outdated(params)
    if waiting:
        parts.append(f"note: `python -m bench report` adds what has come since: {few(waiting, 3)}")
    if stale:
        parts.append(
            f"note: these tables are older than params.yaml; `python -m bench run` runs again: {few(stale, 3)}"
        )
    if missing:
        parts.append(f"note: `python -m bench run --missing` runs what was not run: {few(missing, 3)}")
    return "\n\n".join([*parts, f"How to read them: docs/reading-a-report.md. Everything else: {folder / PAGE}"])


def outdated(params: Params) -> tuple[list[str], list[str], list[str]]:
    """Return the cells whose numbers in the report are not those of the current params.yaml.

    Returns:
        those that were run otherwise, those that are done because a raw file has come since, and those of which there
        is nothing.
    """
    records = read_json(result_folder(params.suite) / PROVENANCE)
    missing: dict[str, Record] = {"reconstruct": {}, "score": {}}
    found = {key: records.get(key, missing) for key in params.cells}
    left = [key for key, of in found.items() if not is_current(params, key, of["reconstruct"], of["score"])]
    done = [key for key in left if _is_done(params, key)]
    stale = [key for key in left if key in records and key not in done]
    return stale, done, [key for key in left if key not in stale and key not in done]


def _is_done(params: Params, key: str) -> bool:
    path = raw_file(params.suite, key)
    return path.is_file() and difference(params, key, read_raw(path)) is None
