"""One process at a time. Nothing here waits for a clock: the processes tell each other how far they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.store.locks import held
from swq.errors import UserError
from tests.support.repository import ROOT

HOLDER = """
import sys
from bench.store.locks import held
with held("score@x", "score@x", wait=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def other_process() -> Iterator[subprocess.Popen[str]]:
    """Yield a process that takes the lock, says so, and keeps it until its input ends."""
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    """Wait for the next line of a process."""
    assert process.stdout
    return process.stdout.readline().strip()


def test_second_process_is_refused_and_told_who_was_first() -> None:
    with other_process() as process:
        assert said(process) == "held"
        with (
            pytest.raises(UserError, match=rf"^score is going on already: process {process.pid} on .+; wait until"),
            held("score@x", "score", wait=False),
        ):
            pytest.fail("both have it")
        with held("score@y", "score", wait=False):
            pass  # another lock


def test_second_process_waits_and_says_for_whom() -> None:
    ours = ExitStack()
    ours.enter_context(held("score@x", "score@x", wait=False))
    with ours, other_process() as process:
        assert said(process).startswith(f"note: waiting for score@x: process {os.getpid()} on ")
        ours.close()
        assert said(process) == "held"


def test_killed_holder_releases_it() -> None:
    with other_process() as process:
        assert said(process) == "held"
        process.kill()
        process.wait()
        with held("score@x", "score@x", wait=False):
            assert f"process {os.getpid()} on" in Path(".locks/score@x").read_text(), "and not the killed one"


def test_error_releases_it() -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), held("run", "a run", wait=False):
            raise ZeroDivisionError
