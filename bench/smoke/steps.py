"""How long a training step takes at a model's real shapes, and how many bytes it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from lightning.fabric import Fabric

from bench.speed.memory import peak_of
from bench.speed.step import product_step
from bench.speed.subject import CASES, Shapes, Subject
from swq.quant.scheme import Scheme

ROUNDS = 3  # that count, after one that does not
SCHEME = Scheme(2, 128)


@dataclass(frozen=True)
class Step:
    """One case in one precision.

    Attributes:
        case: as `bench speed` calls it, with SW.
        precision: as a configuration writes it.
        milliseconds: of a step with SW; the median.
        peak: bytes that torch allocated above the block and its inputs.
    """

    case: str
    precision: str
    milliseconds: float
    peak: int


def measure_steps(
    fabric_of: Callable[[str], Fabric],
    precisions: Sequence[str],
    block: Shapes,
    tokens: int,
    on_done: Callable[[], object],
) -> list[Step]:
    """Time every case with SW in every precision.

    Args:
        fabric_of: returns the Fabric of a precision.
        precisions: as a configuration writes them.
        block: its shapes.
        tokens: of a sample.
        on_done: called after each of them.
    """
    found = []
    for precision in precisions:
        for case in CASES:
            fabric = fabric_of(precision)
            subject = Subject(fabric, block, SCHEME, tokens, case.samples)
            step = product_step(subject, case, sw=True)
            peak = peak_of(step, fabric.device)  # the first one, in which kernels are chosen
            milliseconds = 1e3 * median(step() for _ in range(ROUNDS))
            found.append(Step(case.name, precision, milliseconds, peak))
            on_done()
    return found
