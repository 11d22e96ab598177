"""How far a stage is, in a file that whoever runs the pipeline can read."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.store.files import read_json, write_json
from bench.store.paths import PROGRESS
from swq.errors import UserError


@dataclass(frozen=True)
class Progress:
    """How far a stage is.

    Attributes:
        what: is being worked on, e.g. "block 12 of 30".
        done: parts that are finished.
        total: parts in all, of about the same length.
    """

    what: str
    done: int
    total: int


def note_progress(what: str, done: int, total: int) -> None:
    """Say how far the stage that DVC runs in this process is; without DVC nobody reads it, and nothing is written."""
    stage = os.environ.get("DVC_STAGE")  # set by DVC for the commands it runs
    if stage:
        write_json(_file(stage), asdict(Progress(what, done, total)))


def read_progress(stage: str) -> Progress | None:
    """Return what a stage noted last; None if it has noted nothing yet, or nothing that makes sense."""
    try:
        noted = Progress(**read_json(_file(stage)))
    except (UserError, TypeError):
        return None
    counts = isinstance(noted.done, int) and isinstance(noted.total, int)
    return noted if counts and isinstance(noted.what, str) and 0 <= noted.done <= noted.total > 0 else None


def forget_progress(stage: str) -> None:
    """Forget what a stage noted, before it is run again."""
    _file(stage).unlink(missing_ok=True)


def _file(stage: str) -> Path:
    return PROGRESS / f"{stage}.json"
