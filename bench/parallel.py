"""Several cells at once, each by a DVC of its own: as many as there are cores to spare, or GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from tqdm import tqdm

from bench.config import Params
from bench.paths import LOGS

Slots = SimpleQueue[dict[str, str]]


def run_cells(dvc: Path, params: Params, keys: list[str], jobs: int) -> bool:
    """Run cells, `jobs` at a time, and say whether all succeeded. What each prints goes to .logs/KEY.log.

    What cells share is made first, because DVC lets nobody read what it is making. Then each cell's stages run alone
    (`--single-item`): a DVC that looked at its parents too would lock them.
    """
    # A cell whose inputs could not be made fails by itself; the others need not wait for it.
    made = subprocess.run([dvc, "repro", "--keep-going", *_shared(params, keys)], check=False)
    LOGS.mkdir(exist_ok=True)
    slots: Slots = SimpleQueue()
    for place in range(jobs):
        slots.put(_environment(place))
    succeeded = made.returncode == 0
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(keys), desc=f"cells, {jobs} at a time", unit="cell") as bar:
        running = {pool.submit(_run_cell, dvc, key, slots): key for key in keys}
        try:
            for done in as_completed(running):
                if not done.result():
                    succeeded = False
                    bar.write(f"cell {running[done]} failed: see {LOGS / running[done]}.log", file=sys.stderr)
                bar.update()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)  # those that run were interrupted with us
            raise
    return succeeded


def _shared(params: Params, keys: list[str]) -> list[str]:
    """Return the stages that more than one cell may depend on."""
    cells = [params.cells[key] for key in keys]
    models = {f"{'fetch' if cell.model in params.models else 'train'}-model@{cell.model}" for cell in cells}
    calibrations = {f"calibrate@{cell.calibration}" for cell in cells}
    return sorted({f"fetch-corpus@{params.protocol.corpus}"} | models | calibrations)


def _run_cell(dvc: Path, key: str, slots: Slots) -> bool:
    command = [str(dvc), "--wait-for-lock", "repro", "--single-item", f"reconstruct@{key}", f"score@{key}"]
    with _taken(slots) as environment, (LOGS / f"{key}.log").open("w") as log:
        done = subprocess.run(command, check=False, stdout=log, stderr=log, env=os.environ | environment)
    return done.returncode == 0


@contextmanager
def _taken(slots: Slots) -> Iterator[dict[str, str]]:
    environment = slots.get()
    try:
        yield environment
    finally:
        slots.put(environment)


def _environment(place: int) -> dict[str, str]:
    """Return what puts a job on a GPU of its own, where there are several."""
    import torch

    n_devices = torch.cuda.device_count()
    if n_devices < 2:
        return {}
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = given.split(",") if given else [str(device) for device in range(n_devices)]
    return {"CUDA_VISIBLE_DEVICES": devices[place % len(devices)]}
