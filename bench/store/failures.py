"""Which stages of the pipeline failed and why, to be reported again at the end of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.store.paths import FAILURES


def note_failure(stage: str, reason: str) -> None:
    """Keep why a stage failed."""
    FAILURES.mkdir(exist_ok=True)
    (FAILURES / stage).write_text(reason, encoding="utf-8")


def note_success(stage: str) -> None:
    """Forget that a stage ever failed."""
    (FAILURES / stage).unlink(missing_ok=True)


def failures() -> dict[str, str]:
    """Return the stages that failed and have not succeeded since, and why, in one line."""
    return {path.name: _reason(path) for path in sorted(FAILURES.glob("*")) if path.is_file()}


def forget_failures() -> None:
    """Forget all failures."""
    shutil.rmtree(FAILURES, ignore_errors=True)


def _reason(path: Path) -> str:
    return " ".join(path.read_text(encoding="utf-8", errors="replace").split())
