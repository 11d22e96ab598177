"""How long a training step takes at a model's real shapes, and how many bytes it needs."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from lightning.fabric import Fabric

from bench.speed.memory import peak_of
from bench.speed.step import product_step
from bench.speed.subject import Case, Shapes, Subject
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


def measure(fabric: Fabric, precision: str, case: Case, block: Shapes, tokens: int) -> Step:
    """Time one case with SW.

    Args:
        fabric: of the precision.
        precision: as a configuration writes it.
        case: the method.
        block: its shapes.
        tokens: of a sample.
    """
    step = product_step(Subject(fabric, block, SCHEME, tokens, case.samples), case, sw=True)
    peak = peak_of(step, fabric.device)  # the first one, in which kernels are chosen
    return Step(case.name, precision, 1e3 * median(step() for _ in range(ROUNDS)), peak)
