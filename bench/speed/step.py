"""A whole training step: the product's, with SW and without, against the plain loop's and the floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.speed import plain
from bench.speed.floor import Floor
from bench.speed.subject import CASES, N_PROJECTIONS, Case, Subject
from bench.speed.timing import Run, Times, interleaved, now, timed
from swq.kernels import native
from swq.reconstruct.data import to_device
from swq.reconstruct.module import BlockReconstruction
from swq.reconstruct.train import train_block
from swq.seeding import keyed_normals

STEPS = 2  # that count in each round, after one that does not
OURS, PLAIN, FLOOR, SW = "ours", "plain", "floor", " + sw"
UNCOMPILED = "ours uncompiled"  # with the kernels that need no compiler
# What is printed of each case: how many times as long the first takes as the second.
RATIOS = (
    (PLAIN, OURS),
    (PLAIN + SW, OURS + SW),
    (UNCOMPILED, FLOOR),
    (OURS, FLOOR),
    (OURS + SW, FLOOR),
    (OURS + SW, OURS),
)


@dataclass(frozen=True)
class StepTimes:
    """The times of one case at one length."""

    case: Case
    tokens: int
    times: Times


def measure_steps(
    subjects: Callable[[int, int], Subject], tokens: list[int], repeats: int, on_round: Callable[[float], object]
) -> list[StepTimes]:
    """Measure every case at every length.

    Args:
        subjects: returns the subject of a length and a number of samples.
        tokens: the lengths.
        repeats: rounds.
        on_round: called after every round with the tokens that it computed.
    """
    return [
        StepTimes(case, length, _measure(subjects(length, case.samples), case, repeats, on_round))
        for length in tokens
        for case in CASES
    ]


def work(tokens: list[int]) -> float:
    """Return the tokens of one round over all cases and lengths."""
    return sum(_tokens(case, length) for length in tokens for case in CASES)


def _tokens(case: Case, length: int) -> float:
    return 6 * (STEPS + 1) * case.samples * length


def _measure(subject: Subject, case: Case, repeats: int, on_round: Callable[[float], object]) -> Times:
    runs: dict[str, Run] = {FLOOR: timed(Floor(subject), subject.fabric.device, STEPS)}
    runs[UNCOMPILED] = _uncompiled(product_step(subject, case, sw=False))
    for sw, suffix in ((False, ""), (True, SW)):
        runs[OURS + suffix] = product_step(subject, case, sw)
        runs[PLAIN + suffix] = timed(plain_step(subject, case, sw), subject.fabric.device, STEPS)
    return interleaved(runs, repeats, lambda: on_round(_tokens(case, subject.tokens)))


def product_step(subject: Subject, case: Case, sw: bool, steps: int = STEPS, unmeasured: int = 1) -> Run:
    """Return a run that trains the block as a reconstruction does, from its start, and takes the time of its steps.

    Args:
        subject: what is trained.
        case: the method.
        sw: whether the loss has SW.
        steps: that count; the run returns their mean.
        unmeasured: steps before them. Gradient shares are measured in the first one. In `16-mixed` steps overflow until
            the scaler has found its scale: their update is skipped, and shares are tried again.
    """
    device, last = subject.fabric.device, unmeasured + steps

    def run() -> float:
        done: list[float] = []

        def on_step() -> None:
            # Between the first step and the last, the device is not waited for more than the product waits itself.
            done.append(now(device) if len(done) + 1 in (unmeasured, last) else 0.0)

        module = BlockReconstruction(
            index=0,
            block=subject.block,
            kwargs=subject.arguments,
            quantizer=subject.quantizer(case, last),
            loss=case.loss(sw),
            normals=lambda key, shape: to_device(subject.fabric, keyed_normals(0, key, shape)),
        )
        # One epoch, so that gradient shares are measured in the first step.
        train_block(subject.fabric, module, subject.data, 0, "the block", [last], on_step)
        return (done[last - 1] - done[unmeasured - 1]) / steps

    return run


def _uncompiled(run: Run) -> Run:
    def without() -> float:
        library = native.library()
        native.use(None)
        try:
            return run()
        finally:
            native.use(library)

    return without


def plain_step(subject: Subject, case: Case, sw: bool) -> Callable[[], float]:
    """Return the plain loop's step, which goes on from call to call and returns the loss."""
    quantizer = case.reference(subject.linears, subject.scheme)
    optimizer = quantizer.optimizer()

    def step() -> float:
        hidden, target = (subject.fabric.to_device(t) for t in (subject.data.hidden, subject.data.fp_output))
        assert isinstance(hidden, torch.Tensor) and isinstance(target, torch.Tensor)
        return plain.train_step(
            subject.block,
            subject.arguments,
            quantizer,
            optimizer,
            hidden,
            target,
            case.weights(sw),
            N_PROJECTIONS,
        )

    return step
