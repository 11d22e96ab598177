"""What a DVC that was killed leaves behind and cannot read itself: half of dvc.lock, of its locks, of a cached run.

It writes the first two in place, so that a kill leaves them empty or cut off, and every later DVC refuses to start. It
takes half of a cached run for a whole one, and every later DVC fails at that stage, as it does where there is nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.store.dvc_lock import DVC_LOCK, stages_in, text_of
from bench.store.paths import LOCKS
from swq.files import try_lock, write_text

COPY = LOCKS / DVC_LOCK.name  # of the last dvc.lock that was whole
TORN = LOCKS / f"{DVC_LOCK.name}.damaged"
RWLOCK = Path(".dvc/tmp/rwlock")  # which DVC reads and writes which path
GUARD = Path(".dvc/tmp/rwlock.lock")  # DVC holds it while it edits that
RUNS = Path(".dvc/cache/runs")  # an entry for each run of a stage, named by its hash
REPO = Path(".dvc/tmp/lock")  # DVC holds it whenever no stage runs, so also while it writes dvc.lock and a cached run


def clear_up() -> str | None:
    """Put in order what a killed DVC left behind, before the next one starts; return a note if a result may be lost."""
    with _taken(GUARD) as free:
        if free:
            _mend_rwlock()
    with _taken(REPO) as free:
        if not free:
            return None
        _mend_runs()
        return _mend_lock()


def keep_lock() -> None:
    """Keep a copy of dvc.lock if it is whole; another DVC may be writing it just now."""
    text = text_of(DVC_LOCK)
    if text != text_of(COPY) and _whole(text):
        LOCKS.mkdir(exist_ok=True)
        write_text(COPY, text)


def _mend_lock() -> str | None:
    """Put the copy in the place of a dvc.lock that was cut off. What it does not know yet, DVC looks up or runs again.

    An old copy does no harm: DVC compares with the files whatever a lock says.
    """
    if not DVC_LOCK.is_file() or _whole(text_of(DVC_LOCK)):
        keep_lock()
        return None
    LOCKS.mkdir(exist_ok=True)
    if not _whole(text_of(COPY)):
        os.replace(DVC_LOCK, TORN)
        return f"{DVC_LOCK} was cut off, as by a kill, and is now {TORN}; DVC looks every stage up again"
    shutil.copyfile(DVC_LOCK, TORN)
    write_text(DVC_LOCK, text_of(COPY))
    return f"{DVC_LOCK} was cut off, as by a kill; its last whole copy is back, and what it was is {TORN}"


def _mend_runs() -> None:
    """Remove cached runs that have no name yet, and empty folders that were made for one: both stop DVC."""
    for folder in RUNS.glob("*/*/"):
        for half in folder.glob("*.*"):
            half.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _mend_rwlock() -> None:
    """Remove a file of locks that cannot be read, and locks of processes that are no DVC any more.

    DVC itself asks only whether a process with that number exists. In a restarted container one soon does.
    """
    if not RWLOCK.is_file():
        return
    try:
        before = json.loads(text_of(RWLOCK))
        after = _of_the_living(before)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        RWLOCK.unlink()
        return
    if after != before:
        write_text(RWLOCK, json.dumps(after))


def _of_the_living(locks: dict[str, Any]) -> dict[str, Any]:
    """Return DVC's locks without those of dead processes: one writer of a path, or a list of readers."""
    writers = {path: info for path, info in locks.get("write", {}).items() if _is_dvc(info["pid"])}
    readers = {path: [i for i in infos if _is_dvc(i["pid"])] for path, infos in locks.get("read", {}).items()}
    kept = {"write": writers, "read": {path: infos for path, infos in readers.items() if infos}}
    return {mode: kept[mode] for mode in locks}


def _is_dvc(pid: int) -> bool:
    """Say whether a living process is a DVC."""
    try:
        return any("dvc" in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


@contextmanager
def _taken(lock: Path) -> Iterator[bool]:
    """Take one of DVC's locks as DVC does; yield whether it was free. Otherwise a living DVC is at work."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a", encoding="utf-8") as handle:
        yield try_lock(handle)


def _whole(text: str) -> bool:
    """Say whether a dvc.lock is as DVC wrote it, to the end of its last line: an entry's outs come last."""
    stages = stages_in(text)
    return (
        stages is not None
        and text.endswith("\n")
        and all(isinstance(stage, dict) and isinstance(stage.get("outs"), list) for stage in stages.values())
    )
