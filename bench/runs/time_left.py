"""How much longer a run will take: `estimate`'s arithmetic, corrected by what was measured so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.analysis.current import is_current
from bench.config.params import Params
from bench.preflight.at_hand import shapes_of
from bench.preflight.cost import cost
from bench.preflight.seconds import CPU, Rates
from bench.store.files import read_mapping
from bench.store.paths import RECORD, artefact_folder, score_folder
from bench.store.progress import Progress
from swq.errors import UserError

STAGES = ("reconstruct", "score")  # of a cell, in order
BELIEF = 30.0  # seconds of measurement that the arithmetic counts for; short stages are mostly start-up


def expected_seconds(params: Params, keys: Iterable[str]) -> dict[str, float]:
    """Return the seconds that each stage of each cell should take, by the stage's name in DVC.

    Raises:
        UserError: a model is not there yet, so its shapes are not known.
    """
    from bench.runtime import has_gpu

    rates = Rates() if has_gpu(params.runtime) else CPU
    cells = {key: params.cells[key] for key in keys}
    shapes = {model: shapes_of(params, model) for model in {cell.model for cell in cells.values()}}
    costs = {key: cost(params, cell, shapes[cell.model], rates) for key, cell in cells.items()}
    return {f"{stage}@{key}": getattr(costs[key], stage) for key in cells for stage in STAGES}


def made_before(params: Params, keys: Iterable[str]) -> set[str]:
    """Return the stages of cells that were made and scored with the current params.yaml, by their records.

    DVC need not run them again, unless the code or an input has changed.
    """
    return {f"{stage}@{key}" for key in keys if _made_before(params, key) for stage in STAGES}


def _made_before(params: Params, key: str) -> bool:
    try:
        made, scored = read_mapping(artefact_folder(key) / RECORD), read_mapping(score_folder(key) / RECORD)
    except UserError:
        return False
    return is_current(params, key, made, scored)


@dataclass
class TimeLeft:
    """Expected seconds of stages, corrected by what finished stages took.

    Attributes:
        expected: seconds by stage, without stages that are finished or known to be up to date.
        made: stages that are probably up to date and take no time then; empty as soon as one of them runs after all.
    """

    expected: dict[str, float]
    made: set[str] = field(default_factory=set)
    _taken: dict[str, float] = field(default_factory=dict)  # measured seconds by kind of stage
    _should: dict[str, float] = field(default_factory=dict)  # expected seconds of the same stages

    def start(self, stage: str) -> None:
        """Note that a stage runs: if it was thought to be up to date, the others that were may run too."""
        if stage in self.made:
            self.made.clear()

    def finish(self, stage: str, seconds: float) -> None:
        """Note how long a stage took."""
        should = self.expected.pop(stage, None)
        if should is not None:
            kind = stage.partition("@")[0]
            self._taken[kind] = self._taken.get(kind, 0.0) + seconds
            self._should[kind] = self._should.get(kind, 0.0) + should

    def skip(self, stage: str) -> None:
        """Note that a stage need not be run, or failed."""
        self.expected.pop(stage, None)

    def left(self, running: dict[str, tuple[float, Progress | None]], jobs: int) -> float:
        """Return seconds until the last stage ends, `jobs` at a time.

        Args:
            running: of each stage that runs, the seconds since it began, and how far it is.
            jobs: how many run at a time.
        """
        waiting = (
            seconds * self._factor(stage)
            for stage, seconds in self.expected.items()
            if stage not in {*running, *self.made}
        )
        return (sum(waiting) + sum(self._rest(stage, *state) for stage, state in running.items())) / jobs

    def _rest(self, stage: str, elapsed: float, progress: Progress | None) -> float:
        """Seconds that a running stage still needs: by its own pace once a quarter is done, else by the estimate."""
        whole = self.expected.get(stage, 0.0) * self._factor(stage)
        if progress and 4 * progress.done >= progress.total:
            return elapsed * (progress.total - progress.done) / progress.done
        return max(whole - elapsed, 0.0)

    def _factor(self, stage: str) -> float:
        """Measured over expected time, of finished stages of the same kind, else of all finished stages."""
        kind = stage.partition("@")[0]
        if self._should.get(kind):
            taken, should = self._taken[kind], self._should[kind]
        else:
            taken, should = sum(self._taken.values()), sum(self._should.values())
        return (taken + BELIEF) / (should + BELIEF)


def show_seconds(seconds: float) -> str:
    """Return a time for people, e.g. `40 s`, `9 min`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
