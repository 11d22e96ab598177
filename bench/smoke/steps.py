"""How long a training step takes at a model's real shapes, and how many bytes it needs."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.fabric import Fabric

from bench.speed.memory import peak_of
from bench.speed.step import product_step
from bench.speed.subject import Case, Shapes, Subject
from swq.quant.scheme import Scheme

SETTLE = 30  # steps until the gradient scaler of 16-mixed has found its scale
STEPS = 10  # that count, after those
SCHEME = Scheme(2, 128)


@dataclass(frozen=True)
class Step:
    """One case in one precision.

    Attributes:
        case: as `bench speed` calls it.
        precision: as a configuration writes it.
        without: milliseconds of a step without SW; the mean.
        milliseconds: of a step with SW; the mean.
        peak: bytes that torch allocated above the block and its inputs, with SW.
    """

    case: str
    precision: str
    without: float
    milliseconds: float
    peak: int


def measure(fabric: Fabric, precision: str, case: Case, block: Shapes, tokens: int) -> Step:
    """Time one case, with SW and without.

    Args:
        fabric: of the precision.
        precision: as a configuration writes it.
        case: the method.
        block: its shapes.
        tokens: of a sample.
    """
    subject = Subject(fabric, block, SCHEME, tokens, case.samples)
    plain, with_sw = (product_step(subject, case, sw, STEPS, SETTLE) for sw in (False, True))
    seconds = [plain()]
    peak = peak_of(lambda: seconds.append(with_sw()), fabric.device)
    return Step(case.name, precision, 1e3 * seconds[0], 1e3 * seconds[1], peak)
