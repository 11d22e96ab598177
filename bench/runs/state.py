"""A run's progress: which stages are running, since when, which cells are finished, and the line that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from bench.config.labels import labels
from bench.config.params import Params
from bench.runs.time_left import TimeLeft, expected_seconds, made_before, show_seconds
from bench.store.progress import Progress, forget_progress, read_progress
from swq.errors import UserError

VERBS = {
    "validate": "validating params.yaml",
    "fetch-model": "fetching model",
    "train-model": "training model",
    "fetch-corpus": "fetching corpus",
    "calibrate": "calibrating",
    "compare": "comparing codes of",
    "report": "rendering the report of",
}


class RunState:
    """The state of a run over some cells, fed with events by the threads that listen to DVC.

    Args:
        params: of the suite.
        keys: the cells of the run, in order.
        jobs: cells at a time.
        clock: seconds; replaced in tests.
    """

    def __init__(
        self, params: Params, keys: list[str], jobs: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._params, self._keys, self._jobs, self._clock = params, keys, jobs, clock
        self._labels = labels(params)
        self._lock = Lock()
        self._started: dict[str, float] = {}  # of stages that run
        self._ended: set[str] = set()  # stages
        self._time_left: TimeLeft | None = None
        self._tried_after: int | None = None  # so many stages had ended when the models' shapes were last asked for
        self._made = made_before(params, keys)  # now: a stage that runs removes its record

    def listener(self) -> Callable[[str, str], None]:
        """Return a listener for one DVC, which runs one stage at a time: an event ends the stage before it."""
        current: list[str] = []

        def listen(stage: str, event: str) -> None:
            with self._lock:
                if event == "failed":
                    self._forget(stage)
                    current.clear()
                    return
                while current:
                    self._finish(current.pop())
                if event == "running":
                    forget_progress(stage)
                    self._started[stage] = self._clock()
                    if self._time_left:
                        self._time_left.start(stage)
                    current.append(stage)
                elif event == "skipped":
                    self._forget(stage)

        return listen

    def line(self) -> str:
        """Return the line of progress, e.g. `cell 3 of 7 · OmniQuant + SW · block 12 of 30 · 9 min left`."""
        with self._lock:
            running = {s: (self._clock() - began, read_progress(s)) for s, began in self._started.items()}
            done = sum(f"score@{key}" in self._ended for key in self._keys)
            parts = [self._cells(done, running), *(self._stage(stage, state[1]) for stage, state in running.items())]
            if not running and done < len(self._keys):
                parts.append("starting")
            left = self._left(running)
            return " · ".join([*parts, *([f"{show_seconds(left)} left"] if left is not None else [])])

    def _cells(self, done: int, running: dict[str, tuple[float, Progress | None]]) -> str:
        if self._jobs > 1 or not any(stage.partition("@")[2] in self._keys for stage in running):
            return f"{done} of {len(self._keys)} cells"
        return f"cell {min(done + 1, len(self._keys))} of {len(self._keys)}"

    def _stage(self, stage: str, progress: Progress | None) -> str:
        kind, _, key = stage.partition("@")
        if kind in VERBS:
            return f"{VERBS[kind]} {key}" + (f": {progress.what}" if progress else "")
        what = progress.what if progress else "starting"
        return f"{self._labels[key]} · {f'scoring {what}' if kind == 'score' and progress else what}"

    def _left(self, running: dict[str, tuple[float, Progress | None]]) -> float | None:
        """Return the seconds that are left; None while a model's shapes are not known."""
        if self._time_left is None:
            if self._tried_after == len(self._ended):
                return None  # nothing was made since the last try, which may have asked the hub
            self._tried_after = len(self._ended)
            try:
                expected = expected_seconds(self._params, self._keys)
            except UserError:
                return None
            expected = {stage: seconds for stage, seconds in expected.items() if stage not in self._ended}
            self._time_left = TimeLeft(expected, self._made)
            for stage in self._started:
                self._time_left.start(stage)
        return self._time_left.left(running, self._jobs)

    def _finish(self, stage: str) -> None:
        seconds = self._clock() - self._started.pop(stage)
        self._ended.add(stage)
        if self._time_left:
            self._time_left.finish(stage, seconds)

    def _forget(self, stage: str) -> None:
        """Count a stage as ended that did not run to its end, because it was up to date or failed."""
        self._started.pop(stage, None)
        self._ended.add(stage)
        if self._time_left:
            self._time_left.skip(stage)
