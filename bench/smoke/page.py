"""What `smoke-gpu` found, as a page and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bench.render.table import Table
from bench.smoke.blocks import Trained
from bench.smoke.replay import LOSSES, Replayed
from bench.smoke.scoring import LIKELIHOODS, Scored
from bench.smoke.steps import Step

MIB = 2**20


@dataclass
class Found:
    """Everything that one call found.

    Attributes:
        machine: what decides a result's bytes.
        provenance: commit, libraries, driver.
        replays: of the recorded runs.
        trained: a block by every method in every precision.
        steps: times and memory of a training step.
        scored: full precision beside the committed numbers; None if they are not here.
        errors: what stopped a part as a whole, in one line, by the part's name.
        notes: what was not checked.
    """

    machine: dict[str, Any]
    provenance: dict[str, Any]
    replays: list[Replayed] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    scored: Scored | None = None
    errors: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """The checks that failed, by name."""
        names = [f"replay {row.run}" for row in self.replays if not row.passed]
        names += [f"{row.method} in {row.precision}" for row in self.trained if not row.passed]
        names += ["scoring"] if self.scored and not self.scored.passed else []
        return [*names, *(f"{part} ({error})" for part, error in self.errors.items())]

    def as_data(self) -> dict[str, Any]:
        """Return all of it as JSON holds it; memory in bytes."""
        return asdict(self) | {"failed": self.failed}

    def page(self) -> str:
        said = [", ".join(f"{name} {value}" for name, value in self.machine.items())]
        said += [REPLAYS, _replays(self.replays), TRAINED, _trained(self.trained), STEPS, _steps(self.steps)]
        said += _scored(self.scored) if self.scored else []
        failed = self.failed
        said.append(f"Failed: {'; '.join(failed)}." if failed else "Everything that was checked passed.")
        return "\n\n".join([*said, *self.notes])


REPLAYS = (
    f"Recorded runs of the authors' code, in float32. A difference of a loss of at most {LOSSES:g} passes; codes that"
    " differ are counted."
)
TRAINED = (
    "One random block, reconstructed by every method. Peak: what torch allocates. Counted: what"
    " `python -m bench estimate` says, with 512 MiB of CUDA's own in it."
)
STEPS = "A training step, without SW and with it, with 128 directions."


def _replays(rows: list[Replayed]) -> str:
    body = [
        [row.run, str(row.steps), f"{row.difference:.1e}", f"{row.other_codes} of {row.codes}", _passed(row.passed)]
        for row in rows
    ]
    return Table(body, ["run", "steps", "largest difference", "other codes", ""], left=1).markdown()


def _trained(rows: list[Trained]) -> str:
    body = [
        [
            row.method,
            row.precision,
            str(row.steps),
            f"{row.seconds:.1f}",
            f"{row.peak / MIB:,.0f}",
            f"{row.counted / MIB:,.0f}",
            row.error or ("passed" if row.finite else "NOT FINITE"),
        ]
        for row in rows
    ]
    return Table(body, ["method", "precision", "steps", "seconds", "peak, MiB", "counted, MiB", ""], left=2).markdown()


def _steps(rows: list[Step]) -> str:
    body = [
        [row.case, row.precision, f"{row.without:.1f}", f"{row.milliseconds:.1f}", f"{row.peak / MIB:,.0f}"]
        for row in rows
    ]
    return Table(body, ["case", "precision", "ms", "with SW, ms", "peak above the block, MiB"], left=2).markdown()


def _scored(row: Scored) -> list[str]:
    return [
        f"Cell {row.cell} scored in {row.seconds:.0f} s beside the committed numbers of a CPU: log-likelihoods of"
        f" {row.documents} documents differ by at most {row.likelihoods:.1e} nats, {row.answers} answers are right on"
        f" one side only, mean losses of {row.windows} windows differ by at most {row.losses:.1e} nats a token"
        f" ({_passed(row.passed)}; at most {LIKELIHOODS:g} passes)."
    ]


def _passed(passed: bool) -> str:
    return "passed" if passed else "FAILED"
