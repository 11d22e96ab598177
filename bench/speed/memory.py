"""Peak memory of a piece of work, measured in a process of its own."""

from __future__ import annotations

import ctypes
import gc
import platform
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from bench.config.sections import Runtime
from bench.runtime import start_fabric
from bench.speed.step import OURS, PLAIN, SW, plain_step, product_step
from bench.speed.subject import CASES, PRECISION, Shapes, Subject
from swq.errors import UserError
from swq.kernels import choose
from swq.quant.scheme import Scheme

Result = TypeVar("Result")

CHILD = 40_000  # tokens of training that starting a process takes as long as, about
SIDES = (OURS, PLAIN, OURS + SW, PLAIN + SW)
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux
RESET_PEAK = "5"


@dataclass(frozen=True)
class StepPeak:
    """Peak bytes of training one case, by side, above the block, its inputs and the libraries."""

    case: str
    tokens: int
    peaks: dict[str, int]


def measure_step_memory(
    runtime: Runtime, shapes: Shapes, scheme: Scheme, tokens: int, on_child: Callable[[float], object]
) -> list[StepPeak]:
    """Measure every case and side at one length, each in a new process."""
    found = []
    for index, case in enumerate(CASES):
        peaks = {}
        for side in SIDES:
            peaks[side] = in_child(_step_peak, runtime, shapes, scheme, tokens, index, side)
            on_child(CHILD)
        found.append(StepPeak(case.name, tokens, peaks))
    return found


def work() -> float:
    """Return what measuring costs, in tokens of training."""
    return CHILD * len(CASES) * len(SIDES)


def in_child(function: Callable[..., Result], *arguments: object) -> Result:
    """Return `function(*arguments)`, computed in a new interpreter.

    Raises:
        UserError: the process was killed, most likely for want of memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise UserError("a process that measured memory was killed; is there enough memory?") from error


def peak_of(action: Callable[[], object], device: torch.device) -> int:
    """Return how many bytes `action` needs at its peak above those that are in use before it.

    On a GPU that is what torch allocates there; elsewhere it is the process's resident memory.
    """
    if device.type != "cpu":
        torch.accelerator.reset_peak_memory_stats()
        before = torch.accelerator.memory_allocated()
        action()
        torch.accelerator.synchronize()
        return torch.accelerator.max_memory_allocated() - before
    gc.collect()
    if STATUS.exists():
        with suppress(AttributeError):  # a C library without it
            ctypes.CDLL(None).malloc_trim(0)  # memory that set-up has freed would be used again, and not be counted
        CLEAR.write_text(RESET_PEAK)
    before = psutil.Process().memory_info().rss if STATUS.exists() else _peak_resident()
    action()
    return _peak_resident() - before


def _peak_resident() -> int:
    """Return this process's peak resident memory. getrusage's includes the parent's on Linux, so that is not asked."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _step_peak(runtime: Runtime, shapes: Shapes, scheme: Scheme, tokens: int, case_index: int, side: str) -> int:
    fabric, case = start_fabric(runtime, PRECISION), CASES[case_index]
    choose.use(runtime.kernels, fabric.device)
    subject = Subject(fabric, shapes, scheme, tokens, case.samples)
    sw = side.endswith(SW)

    def train() -> None:
        if side.startswith(OURS):
            product_step(subject, case, sw)()
        else:
            step = plain_step(subject, case, sw)
            for _ in range(3):
                step()

    return peak_of(train, fabric.device)
