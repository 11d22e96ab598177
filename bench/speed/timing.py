"""Times of several runs, measured in turns, and their ratios with an interval.

One run after another in each round, so that a slow minute of the machine affects all of them. A ratio is taken within
each round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch

Run = Callable[[], float]  # does something and returns the seconds that it took
WARM_UP = 1  # rounds that are dropped: the first one reserves memory and chooses kernels


@dataclass(frozen=True)
class Ratio:
    """The median of a ratio over rounds, and its quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @classmethod
    def of(cls, ratios: list[float]) -> Ratio:
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Times:
    """Seconds of each run in each round, by the run's name."""

    seconds: dict[str, list[float]]

    def milliseconds(self, name: str) -> float:
        """Return the median of a run, in milliseconds."""
        return 1e3 * statistics.median(self.seconds[name])

    def ratio(self, name: str, to: str) -> Ratio:
        """Return how many times as long `name` takes as `to`, round by round."""
        return Ratio.of([a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)])

    def as_data(self, *ratios: tuple[str, str]) -> dict[str, object]:
        """Return medians in milliseconds, and the ratios asked for, as JSON holds them."""
        medians = {f"{name} ms": self.milliseconds(name) for name in self.seconds}
        return medians | {f"{name} / {to}": asdict(self.ratio(name, to)) for name, to in ratios}


def now(device: torch.device) -> float:
    """Return the clock's seconds once everything that was handed to `device` is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], object], device: torch.device, times: int = 1) -> Run:
    """Return a run that does `work` once before it takes the time, and then `times` times; its seconds are the mean.

    The first one finds the processor's caches as another run left them.
    """

    def run() -> float:
        work()
        began = now(device)
        for _ in range(times):
            work()
        return (now(device) - began) / times

    return run


def interleaved(runs: Mapping[str, Run], repeats: int, on_round: Callable[[], object] = lambda: None) -> Times:
    """Run all in turns, `repeats` times (at least 2), each round beginning with another one.

    Args:
        runs: by name.
        repeats: rounds that count; `WARM_UP` more are dropped.
        on_round: called after every round.
    """
    names = list(runs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(repeats + WARM_UP):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(runs[name]())
        on_round()
    return Times({name: taken[WARM_UP:] for name, taken in seconds.items()})
