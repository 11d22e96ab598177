"""Running cells of a suite under DVC, one or several at a time, with one line of progress for all of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.config.params import Params
from bench.runs.console import Console
from bench.runs.dvc import Dvc
from bench.runs.leftovers import clear_up, keep_lock
from bench.runs.state import RunState
from bench.runs.time_left import show_seconds
from bench.store.failures import failures, forget_failures
from bench.store.paths import PAGE, QUANTIZED, artefact_folder, result_folder
from bench.store.stage_output import NOTE
from bench.store.sweep import sweep
from swq.errors import UserError

TICK = 0.5  # seconds between two looks at how far it is

Environment = dict[str, str]


def run(params: Params, keys: list[str], jobs: int, console: Console) -> str:
    """Run cells that are not up to date, `jobs` at a time, render the report, and return the closing line.

    The report may show other cells as not run.

    Raises:
        UserError: a stage failed; names each, and why.
    """
    began = time.monotonic()
    forget_failures()
    if note := clear_up():
        console.say(f"{NOTE}{note}")
    state = RunState(params, keys, jobs)
    with _interruptible():
        if jobs > 1:
            broken = _run_at_once(params, keys, jobs, state, console)
        else:
            arguments = ["repro", "--keep-going", *(f"score@{key}" for key in keys)]
            broken = _watch(Dvc("dvc", arguments, state.listener(), {}), state, console)
        for folder in ("artefacts", "scores"):  # the report depends on them, whether a cell was run or not
            Path(folder).mkdir(exist_ok=True)
        if compared := [f"compare@{key}" for key, base in params.report.baselines.items() if _are_made(key, base)]:
            arguments = ["repro", "--single-item", *compared]
            broken += _watch(Dvc("dvc-compare", arguments, state.listener(), {}), state, console)
        # Alone: the report depends on the folders of all cells, so that DVC would run them all first.
        arguments = ["repro", "--single-item", f"report@{params.suite}"]
        broken += _watch(Dvc("dvc-report", arguments, state.listener(), {}), state, console)
    console.clear()
    keep_lock()
    sweep()
    if broken:
        notes = [f"{stage}: {reason}" for stage, reason in failures().items()]
        raise UserError("; ".join(notes) or f"dvc could not run the cells: {broken[0].reason()} (see {broken[0].log})")
    page = result_folder(params.suite) / PAGE
    return f"done in {show_seconds(time.monotonic() - began)}; the report is {page}"


def _are_made(*keys: str) -> bool:
    return all((artefact_folder(key) / QUANTIZED).exists() for key in keys)


def _run_at_once(params: Params, keys: list[str], jobs: int, state: RunState, console: Console) -> list[Dvc]:
    """Run cells, `jobs` at a time, and return the DVCs that failed.

    What cells share is made first, because DVC locks what it is making. Then each cell's stages run alone
    (`--single-item`): a DVC that also checked their parents would lock them.
    """
    shared = Dvc("dvc", ["repro", "--keep-going", *_shared(params, keys)], state.listener(), {})
    broken = _watch(shared, state, console)  # a cell whose inputs could not be made fails by itself
    waiting, free = list(keys), _environments(jobs)
    running: dict[str, tuple[Dvc, Environment]] = {}
    with _stopping(lambda: [dvc for dvc, _ in running.values()]):
        while waiting or running:
            while waiting and free:
                key, environment = waiting.pop(0), free.pop(0)
                arguments = ["--wait-for-lock", "repro", "--single-item", f"reconstruct@{key}", f"score@{key}"]
                running[key] = Dvc(f"dvc-{key}", arguments, state.listener(), environment), environment
            _show([dvc for dvc, _ in running.values()], state, console)
            time.sleep(TICK)
            for key in [key for key, (dvc, _) in running.items() if dvc.ended()]:
                dvc, environment = running.pop(key)
                free.append(environment)
                _show([dvc], state, console)
                if not dvc.succeeded():
                    broken.append(dvc)
                    console.say(f"cell {key} failed: see {dvc.log}")
    return broken


def _watch(dvc: Dvc, state: RunState, console: Console) -> list[Dvc]:
    """Show progress until a DVC has ended, and return it if it failed."""
    with _stopping(lambda: [dvc]):
        while not dvc.ended():
            _show([dvc], state, console)
            time.sleep(TICK)
    _show([dvc], state, console)
    return [] if dvc.succeeded() else [dvc]


def _show(dvcs: list[Dvc], state: RunState, console: Console) -> None:
    """Show what stages said, and how far the run is."""
    for note in (note for dvc in dvcs for note in dvc.notes()):
        console.say(note)
    console.progress(state.line())


@contextmanager
def _stopping(processes: Callable[[], list[Dvc]]) -> Iterator[None]:
    """Stop the processes if this one is interrupted."""
    try:
        yield
    except BaseException:
        for dvc in processes():
            dvc.stop()
        raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat a request to terminate like an interrupt, so that what was started is stopped too."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _shared(params: Params, keys: list[str]) -> list[str]:
    """Return the stages that more than one cell may depend on."""
    cells = [params.cells[key] for key in keys]
    models = {f"{'fetch' if cell.model in params.models else 'train'}-model@{cell.model}" for cell in cells}
    calibrations = {f"calibrate@{cell.calibration}" for cell in cells}
    return sorted({f"fetch-corpus@{params.protocol.corpus}"} | models | calibrations)


def _environments(jobs: int) -> list[Environment]:
    """Return environments that give each of several jobs its own GPU, if there are several GPUs."""
    import torch

    n_devices = torch.cuda.device_count()
    if n_devices < 2:
        return [{} for _ in range(jobs)]
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = given.split(",") if given else [str(device) for device in range(n_devices)]
    return [{"CUDA_VISIBLE_DEVICES": devices[place % len(devices)]} for place in range(jobs)]
