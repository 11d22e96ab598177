"""DVC as a process: what is heard of its stages, and how it is stopped. A script stands in for `dvc` where said."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from bench.runs import dvc as module
from bench.runs.dvc import Dvc

SAYS = """
Stage 'fetch-model@m' didn't change, skipping
Stage 'calibrate@c' is cached - skipping run, checking out outputs
Running stage 'reconstruct@a':
> python -m bench reconstruct a
ERROR: failed to reproduce 'reconstruct@a': failed to run: python -m bench reconstruct a, exited with 1
Running stage 'reconstruct@b':
"""


def script(folder: Path, body: str) -> str:
    """Write an executable Python script and return the path of what would be its interpreter's neighbour."""
    path = folder / "dvc"
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)
    return str(folder / "python")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_stages_are_heard_in_order(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", script(here, f"import sys\nprint({SAYS!r})\nsys.exit(1)"))
    heard: list[tuple[str, str]] = []
    dvc = Dvc("dvc", ["repro"], lambda stage, event: heard.append((stage, event)), {})
    assert not dvc.succeeded() and dvc.ended()
    assert heard == [
        ("fetch-model@m", "skipped"),
        ("calibrate@c", "skipped"),
        ("reconstruct@a", "running"),
        ("reconstruct@a", "failed"),
        ("reconstruct@b", "running"),
        ("", "ended"),
    ]
    assert (here / ".logs/dvc.log").read_text().strip() == SAYS.strip()
    assert dvc.reason().startswith("failed to reproduce 'reconstruct@a'")


def test_another_run_in_the_folder_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ERROR: '/x/data/models/m' is busy, it is being blocked by:\n  (PID 123): /x/bin/dvc repro"
    monkeypatch.setattr(module.sys, "executable", script(here, f'print("""{said}""")\nraise SystemExit(1)'))
    dvc = Dvc("dvc", [], lambda *_: None, {})
    assert not dvc.succeeded()
    assert dvc.reason().startswith("another run is active in this folder: process 123 (/x/bin/dvc repro); wait")


def test_notes_of_stages_are_heard_once_and_at_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = """
import sys
print("Running stage 'score@a':")
print("note: score@a continues", flush=True)
sys.stdin.readline()
print("a note: of something else")
print("note: another one")
"""
    monkeypatch.setattr(module.sys, "executable", script(here, body))
    read, write = os.pipe()
    with os.fdopen(read) as asked:
        monkeypatch.setattr(module.subprocess, "Popen", partial(module.subprocess.Popen, stdin=asked))
        dvc = Dvc("dvc", [], lambda *_: None, {})
    while not (notes := list(dvc.notes())):
        time.sleep(0.01)
    assert notes == ["note: score@a continues"] and not dvc.ended()
    os.close(write)
    assert dvc.succeeded() and list(dvc.notes()) == ["note: another one"] and list(dvc.notes()) == []


IGNORES = """
import os, signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
print(f"Running stage 'child@{child.pid}':", flush=True)
time.sleep(600)
"""


def test_stopping_leaves_no_process_behind(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither DVC nor its stage follows an interrupt, as where a shell started them in the background."""
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr(module.sys, "executable", script(here, IGNORES))
    heard: list[str] = []
    dvc = Dvc("dvc", [], lambda stage, _: heard.append(stage), {})
    while not heard:
        time.sleep(0.01)
    dvc.stop()
    child = int(heard[0].partition("@")[2])
    assert not dvc.succeeded()
    state = Path(f"/proc/{child}/stat")
    while state.exists() and state.read_text().split()[2] not in "ZX":  # killed; its parent, init, has yet to reap it
        os.sched_yield()
