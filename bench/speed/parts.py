"""The parts of a training step, each alone, forward and backward; and SW's share of a step by its directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from bench.speed import plain
from bench.speed.floor import Floor
from bench.speed.step import FLOOR, OURS, PLAIN, STEPS, SW, product_step
from bench.speed.subject import CASES, N_PROJECTIONS, Case, Subject
from bench.speed.timing import Ratio, Run, Times, interleaved, timed
from swq.losses import Loss, Outputs
from swq.models.adapter import block_output
from swq.seeding import keyed_normals

QUANTIZATION, LOSS, OPTIMISER, BLOCK = "fake quantization", "loss", "optimiser", "block"
PARTS = (QUANTIZATION, LOSS, LOSS + SW, OPTIMISER)  # that differ between the product and the plain loop
PROJECTIONS = (32, 64, 128, 256, 512, 1024)

Work = Callable[[], object]
Subjects = Callable[[int, int], Subject]  # of a length and a number of samples


@dataclass(frozen=True)
class PartTimes:
    """The times of one case's parts at one length: `ours PART`, `plain PART`, `block` and `floor`."""

    case: Case
    tokens: int
    times: Times


@dataclass(frozen=True)
class Share:
    """The share of an OmniQuant step that SW takes with this many directions, at one length."""

    tokens: int
    projections: int
    share: Ratio


def measure_parts(
    subjects: Subjects, tokens: list[int], repeats: int, on_round: Callable[[float], object]
) -> list[PartTimes]:
    """Measure the parts of every case at every length; the arguments are those of `measure_steps`."""
    found = []
    for length in tokens:
        for case in CASES:
            subject = subjects(length, case.samples)
            device = subject.fabric.device
            runs = {name: timed(part, device, STEPS) for name, part in _parts(subject, case).items()}
            note = _noting(on_round, case.samples * length)
            found.append(PartTimes(case, length, interleaved(runs, repeats, note)))
    return found


def measure_shares(
    subjects: Subjects, tokens: list[int], repeats: int, on_round: Callable[[float], object]
) -> list[Share]:
    """Measure SW alone, drawing its directions included, beside a step of OmniQuant without it."""
    found, case = [], CASES[0]
    for length in tokens:
        subject = subjects(length, case.samples)
        runs: dict[str, Run] = {OURS: product_step(subject, case, sw=False)}
        for k in PROJECTIONS:
            runs[str(k)] = timed(_product_loss(subject, Loss({"sw": 1.0}, k)), subject.fabric.device, STEPS)
        seconds = interleaved(runs, repeats, _noting(on_round, length)).seconds
        for k in PROJECTIONS:
            shares = [sw / (sw + step) for sw, step in zip(seconds[str(k)], seconds[OURS], strict=True)]
            found.append(Share(length, k, Ratio.of(shares)))
    return found


def work(tokens: list[int]) -> float:
    """Return what a round of all parts costs, in tokens of training."""
    return sum(_round(case.samples * length) for length in tokens for case in CASES)


def work_of_shares(tokens: list[int]) -> float:
    """Return what a round of all shares costs, in tokens of training."""
    return sum(map(_round, tokens))


def _round(tokens: int) -> float:
    """All parts together take about as long as two steps, and so do a step and SW with all numbers of directions."""
    return 2 * (STEPS + 1) * tokens


def _noting(on_round: Callable[[float], object], tokens: int) -> Callable[[], object]:
    return lambda: on_round(_round(tokens))


def _parts(subject: Subject, case: Case) -> dict[str, Work]:
    ours = subject.quantizer(case, 1)
    our_optimizer = ours.start_round(0)
    theirs = case.reference(subject.linears, subject.scheme)
    parts: dict[str, Work] = {
        f"{OURS} {QUANTIZATION}": _quantization(ours, our_optimizer),
        f"{PLAIN} {QUANTIZATION}": _quantization(theirs, theirs.optimizer()),
        f"{OURS} {OPTIMISER}": _optimiser(our_optimizer),
        f"{PLAIN} {OPTIMISER}": _optimiser(theirs.optimizer()),
        BLOCK: _block(subject),
        FLOOR: Floor(subject),
    }
    for sw, name in ((False, LOSS), (True, LOSS + SW)):
        parts[f"{OURS} {name}"] = _product_loss(subject, case.loss(sw))
        parts[f"{PLAIN} {name}"] = _plain_loss(subject, case.weights(sw))
    return parts


def _quantization(quantizer: nn.Module, optimizer: Optimizer) -> Work:
    gradients = {name: torch.randn_like(tensor) for name, tensor in quantizer().items()}

    def work() -> None:
        optimizer.zero_grad()
        trained = {name: tensor for name, tensor in quantizer().items() if tensor.requires_grad}
        torch.autograd.backward(list(trained.values()), [gradients[name] for name in trained])

    return work


def _optimiser(optimizer: Optimizer) -> Work:
    gradients = [
        (variable, torch.randn_like(variable)) for group in optimizer.param_groups for variable in group["params"]
    ]

    def work() -> None:
        for variable, gradient in gradients:
            variable.grad = gradient
        optimizer.step()

    return work


def _block(subject: Subject) -> Work:
    weights = {f"{name}.weight": linear.weight.detach().requires_grad_() for name, linear in subject.linears.items()}
    gradient = torch.randn_like(subject.batch.hidden)

    def work() -> None:
        output = functional_call(subject.block, weights, (subject.batch.hidden,), subject.arguments)
        torch.autograd.grad(block_output(output, gradient.shape), list(weights.values()), gradient)

    return work


def _output(subject: Subject) -> Tensor:
    """Return what a quantized block's output might be."""
    target = subject.batch.fp_output
    return (target + 0.1 * torch.randn_like(target)).requires_grad_()


def _product_loss(subject: Subject, loss: Loss) -> Work:
    output = _output(subject)

    def work() -> None:
        total, _ = loss(Outputs(subject.batch.fp_output, output), lambda shape: keyed_normals(0, ("sw", 0), shape))
        torch.autograd.grad(total, output)

    return work


def _plain_loss(subject: Subject, weights: dict[str, float]) -> Work:
    output = _output(subject)

    def work() -> None:
        normals = None
        if "sw" in weights:
            normals = torch.randn(output.shape[-1], N_PROJECTIONS, device=output.device)
        torch.autograd.grad(plain.loss_of(weights, subject.batch.fp_output, output, normals), output)

    return work
