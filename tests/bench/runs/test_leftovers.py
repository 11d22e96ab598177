"""What a killed DVC leaves behind: half a dvc.lock, and locks of processes that are gone or are something else now."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.runs.leftovers import COPY, GUARD, REPO, RUNS, RWLOCK, TORN, clear_up, keep_lock
from bench.store.dvc_lock import DVC_LOCK

LOCK = """schema: '2.0'
stages:
  fetch-model@m:
    cmd: python -m bench fetch-model m
    deps:
    - path: bench/stages/fetch.py
      md5: 02dadbcd8ccc53d7f92fcadfb05a7a6c
    outs:
    - path: data/models/m
      md5: b58ebb53324612c8f07ea0636748e4d6.dir
"""
NOBODY = 2**22 + 1  # more processes than Linux numbers


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    RWLOCK.parent.mkdir(parents=True)
    return tmp_path


def test_there_may_be_nothing() -> None:
    assert clear_up() is None and not COPY.exists()


def test_whole_lock_is_kept_and_stays_as_it_is() -> None:
    DVC_LOCK.write_text(LOCK)
    assert clear_up() is None
    assert DVC_LOCK.read_text() == COPY.read_text() == LOCK


def test_lock_cut_off_anywhere_is_put_back() -> None:
    DVC_LOCK.write_text(LOCK)
    keep_lock()
    outs = LOCK.index("outs:") + len("outs:\n")
    # At a line's end behind that, it is a lock that DVC can read.
    for length in [*range(0, outs, 9), outs, *(n for n in range(outs, len(LOCK), 9) if LOCK[n - 1] != "\n")]:
        DVC_LOCK.write_text(LOCK[:length])
        keep_lock()
        note = str(clear_up())
        assert "cut off, as by a kill; its last whole copy is back" in note and str(TORN) in note
        assert DVC_LOCK.read_text() == COPY.read_text() == LOCK and TORN.read_text() == LOCK[:length]


def test_lock_without_a_copy_is_moved_aside() -> None:
    DVC_LOCK.write_text("")
    note = str(clear_up())
    assert "looks every stage up again" in note and not DVC_LOCK.exists() and TORN.exists()


@pytest.mark.parametrize("damage", ["[", "{a: ", "- "])
def test_lock_that_nests_deeply_is_damaged_and_ends_no_process(damage: str) -> None:
    """The parser in C would end it with a segmentation fault, in every command from then on."""
    DVC_LOCK.write_text(damage * 100_000)
    keep_lock()
    assert not COPY.exists()
    assert "looks every stage up again" in str(clear_up())


def test_what_a_living_dvc_is_writing_is_left_alone() -> None:
    DVC_LOCK.write_text(LOCK[:99])
    RWLOCK.write_text("")
    with REPO.open("a") as repo, GUARD.open("a") as guard:
        for handle in (repo, guard):
            fcntl.flock(handle, fcntl.LOCK_EX)
        assert clear_up() is None
    assert DVC_LOCK.read_text() == LOCK[:99] and RWLOCK.read_text() == ""


def test_half_of_a_cached_run_is_removed() -> None:
    names = {
        "ab/abcd": ("0123", ".Ce486FQUTBboKtC3bxLzjw.tmp", "0123.1WIgHSEu5mR7X"),
        "ab/abce": (),
        "ac/acdc": (".x.tmp",),
    }
    for folder, files in names.items():
        (RUNS / folder).mkdir(parents=True)
        for name in files:
            (RUNS / folder / name).write_text("cmd: python -m bench score x\n")
    assert clear_up() is None
    assert [str(path.relative_to(RUNS)) for path in RUNS.glob("*/**/*")] == ["ab/abcd", "ab/abcd/0123"]


def test_newer_whole_lock_replaces_the_copy() -> None:
    DVC_LOCK.write_text(LOCK)
    keep_lock()
    fewer = "schema: '2.0'\nstages: {}\n"  # as after `git checkout dvc.lock`
    DVC_LOCK.write_text(fewer)
    assert clear_up() is None and DVC_LOCK.read_text() == COPY.read_text() == fewer


@contextmanager
def living(*arguments: str) -> Iterator[int]:
    """Yield the number of a living process with these arguments."""
    with subprocess.Popen([sys.executable, "-c", "input()", *arguments], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


def info(pid: int) -> dict[str, Any]:
    return {"pid": pid, "cmd": "/bin/dvc repro"}


@pytest.mark.parametrize(
    "content", ["", '{"write": {"/a', "[]", '{"write": {"/a": {"pid": "x"}}}', '{"other": {}}', "[" * 100_000]
)
def test_unreadable_locks_are_removed(content: str) -> None:
    RWLOCK.write_text(content)
    assert clear_up() is None and not RWLOCK.exists()


def test_only_a_living_dvc_keeps_its_locks() -> None:
    with living("/bin/dvc", "repro") as dvc, living("something", "else") as successor:
        dead, reused, alive = info(NOBODY), info(successor), info(dvc)
        locks = {"write": {"/a": dead, "/b": alive, "/c": reused}, "read": {"/d": [dead, alive], "/e": [reused]}}
        RWLOCK.write_text(json.dumps(locks))
        assert clear_up() is None
        assert json.loads(RWLOCK.read_text()) == {"write": {"/b": alive}, "read": {"/d": [alive]}}


@pytest.mark.parametrize("locks", [{"write": {}}, {}])
def test_locks_that_are_free_stay_as_they_are(locks: dict[str, Any]) -> None:
    RWLOCK.write_text(json.dumps(locks))
    assert clear_up() is None and json.loads(RWLOCK.read_text()) == locks
