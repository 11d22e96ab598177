"""The one line of progress: what it counts, what it says of the time, and where it is written."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config.params import Params, load_params
from bench.preflight import at_hand
from bench.runs import state as run_state
from bench.runs.console import Console
from bench.runs.state import RunState
from bench.runs.time_left import TimeLeft, expected_seconds, made_before, show_seconds
from bench.store.items import Item
from bench.store.progress import Progress, note_progress, read_progress
from swq.errors import UserError
from tests.support import scores, tiny_suite

KEYS = ["tiny-fp", "tiny-rtn", "tiny-omniquant", "tiny-omniquant-sw", "tiny-tesseraq-sw"]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    return load_params()


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage is expected to take 10 seconds."""

    def ten(params: Params, keys: list[str]) -> dict[str, float]:
        return {f"{stage}@{key}": 10.0 for key in keys for stage in ("reconstruct", "score")}

    monkeypatch.setattr(run_state, "expected_seconds", ten)


def noted(monkeypatch: pytest.MonkeyPatch, stage: str, what: str, done: int, total: int) -> None:
    """Note progress as the stage's own process would."""
    monkeypatch.setenv("DVC_STAGE", stage)
    note_progress(what, done, total)
    monkeypatch.delenv("DVC_STAGE")


def test_line_names_the_cell_its_block_and_the_time(
    params: Params, even: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    state = RunState(params, KEYS, clock=clock)
    listen = state.listener()
    assert state.line() == "0 of 5 cells · starting · 2 min left"
    listen("fetch-model@tiny", "running")
    assert state.line() == "0 of 5 cells · fetching model tiny · 2 min left"
    for key in KEYS[:3]:
        listen(f"reconstruct@{key}", "running")
        clock.now += 40  # in all 120 s where 30 s were expected: a factor of (120 + 30) / (30 + 30)
        listen(f"score@{key}", "running")
        clock.now += 10  # as expected
    listen(f"reconstruct@{KEYS[3]}", "running")
    assert state.line() == "cell 4 of 5 · OmniQuant + SW · starting · 1 min left"
    noted(monkeypatch, f"reconstruct@{KEYS[3]}", "block 1 of 2", 1, 2)
    clock.now += 8  # at half: as long again; then one reconstruction and two scorings, at the pace of those before
    assert state.line() == "cell 4 of 5 · OmniQuant + SW · block 1 of 2 · 53 s left"
    assert state._left({f"reconstruct@{KEYS[3]}": (8.0, Progress("", 1, 2))}) == pytest.approx(8 + 25 + 2 * 10)


def test_stages_that_are_up_to_date_take_no_time(params: Params, even: None) -> None:
    clock = Clock()
    state = RunState(params, KEYS, clock=clock)
    state.line()
    listen = state.listener()
    for key in KEYS:
        listen(f"reconstruct@{key}", "skipped")
        listen(f"score@{key}", "skipped")
    assert state.line() == "5 of 5 cells · 0 s left"


def test_failed_stage_measures_nothing_and_stops_no_count(params: Params, even: None) -> None:
    clock = Clock()
    state = RunState(params, KEYS, clock=clock)
    state.line()
    listen = state.listener()
    listen("reconstruct@tiny-fp", "running")
    clock.now += 500
    listen("reconstruct@tiny-fp", "failed")
    listen("reconstruct@tiny-rtn", "running")
    assert state.line() == "cell 1 of 5 · RTN · starting · 2 min left", "9 stages of 10 s, and one of them 0 s old"


def test_several_jobs_are_several_stages(params: Params, even: None) -> None:
    state = RunState(params, KEYS, jobs=2, clock=Clock())
    for key in KEYS[:2]:
        state.listener()(f"score@{key}", "running")
    assert state.line() == "0 of 5 cells · FP · starting · RTN · starting · 50 s left"


def test_end_of_dvc_ends_its_stage(params: Params, even: None) -> None:
    state = RunState(params, KEYS, clock=Clock())
    listen = state.listener()
    listen("score@tiny-fp", "running")
    listen("", "ended")
    assert state.line().startswith("1 of 5 cells")


def test_time_of_an_unknown_model_is_not_made_up(params: Params) -> None:
    assert RunState(params, KEYS).line() == "0 of 5 cells · starting"


def test_unknown_model_is_asked_for_again_only_after_a_stage(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is drawn twice a second, and a model's shapes may have to be asked for at the hub."""
    asked = 0

    def unknown(params: Params, keys: list[str]) -> dict[str, float]:
        nonlocal asked
        asked += 1
        raise UserError("the hub cannot be reached")

    monkeypatch.setattr(run_state, "expected_seconds", unknown)
    state = RunState(params, KEYS, clock=Clock())
    listen = state.listener()
    for _ in range(5):
        state.line()
    listen("fetch-model@tiny", "running")
    state.line()
    assert asked == 1
    listen("calibrate@tiny-4x32", "running")  # the model is there by now
    for _ in range(5):
        state.line()
    assert asked == 2


def test_arithmetic_knows_every_stage(params: Params, tmp_path: Path) -> None:
    tiny_suite.write_model(tmp_path / "inputs/model")
    assert at_hand.own_folder(params, "tiny") is not None
    expected = expected_seconds(params, KEYS)
    assert set(expected) == {f"{stage}@{key}" for stage in ("reconstruct", "score") for key in KEYS}
    assert expected["reconstruct@tiny-omniquant-sw"] > expected["reconstruct@tiny-rtn"] > 0


def test_measured_kinds_correct_their_own_kind_first() -> None:
    left = TimeLeft({"reconstruct@a": 30, "score@a": 30, "reconstruct@b": 30, "score@b": 30})
    left.finish("reconstruct@a", 90)  # (90 + 30) / (30 + 30): twice as long as expected, with half a belief in that
    assert left.left({}, 1) == 3 * 60, "no scoring was measured: it is taken to be as slow"
    left.finish("score@a", 0)
    assert left.left({}, 1) == 60 + 15 and left.left({}, 2) == (60 + 15) / 2


def test_cells_made_before_take_no_time_unless_one_runs_after_all(params: Params, even: None) -> None:
    for key in KEYS[1:]:
        scores.write_scores(params, key, [Item("piqa", 0, "h", 0, (-1.0, -2.0))])
    assert made_before(params, KEYS) == {f"{stage}@{key}" for key in KEYS[1:] for stage in ("reconstruct", "score")}
    edited = params.cells["tiny-rtn"].model_copy(update={"scale_dtype": "float32"})
    state = RunState(params.model_copy(update={"cells": params.cells | {"tiny-rtn": edited}}), KEYS, clock=Clock())
    assert state.line() == "0 of 5 cells · starting · 40 s left", "two cells of two stages are to be made"
    listen = state.listener()
    listen("reconstruct@tiny-fp", "running")
    assert state.line() == "cell 1 of 5 · FP · starting · 40 s left"
    listen("reconstruct@tiny-omniquant", "running")  # the code has changed, then
    assert state.line() == "cell 1 of 5 · OmniQuant · starting · 1 min left"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3540, "59 min"), (12000, "3 h 20 min")]
)
def test_times_are_short(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_shows_one_line_that_is_rewritten() -> None:
    terminal = Terminal()
    console = Console(terminal)
    for line in ("one", "two"):
        console.progress(line)
    console.say("cell x failed")
    assert terminal.getvalue() == "\rone\x1b[K\rtwo\x1b[K\r\x1b[Kcell x failed\n"


def test_without_a_terminal_there_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("bench.runs.console.time.monotonic", clock)
    stream = io.StringIO()
    console = Console(stream)
    for second in range(121):
        clock.now = 1000.0 + second
        console.progress(f"at {second}")
    assert stream.getvalue() == "at 0\nat 60\nat 120\n"


def test_nothing_is_noted_without_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    note_progress("block 1 of 2", 1, 2)
    assert not list(tmp_path.iterdir()) and read_progress("reconstruct@x") is None


NOISY = """
import os, sys
from bench.store.stage_output import quiet_under_dvc
with quiet_under_dvc():
    print("a library's hint")
    print("a bar", file=sys.stderr)
    os.write(2, b"from C\\n")
    os.system("echo from a child")
print("closing line")
"""


@pytest.mark.parametrize("stage", ["score@x", None])
def test_what_others_print_goes_to_the_stages_log(tmp_path: Path, stage: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"}
    environment |= {"PYTHONPATH": str(Path.cwd())} | ({"DVC_STAGE": stage} if stage else {})
    command = [sys.executable, "-c", NOISY]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    if stage is None:
        assert "hint" in done.stdout and "a bar" in done.stderr and not (tmp_path / ".logs").exists()
        return
    assert done.stdout == "closing line\n" and done.stderr == ""
    log = (tmp_path / ".logs/score@x.log").read_text()
    assert all(text in log for text in ("a library's hint", "a bar", "from C", "from a child"))


@pytest.mark.slow
def test_error_inside_a_quiet_stage_reaches_the_console(tmp_path: Path) -> None:
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    environment = os.environ | {"DVC_STAGE": "calibrate@tiny-4x32", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "bench", "calibrate", "tiny-4x32"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert (tmp_path / ".failures/calibrate@tiny-4x32").read_text() in done.stderr
