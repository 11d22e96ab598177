"""The plain loop computes what the product computes: it is a reference for speed, so it must do the same work."""

from __future__ import annotations

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from bench.speed import plain
from bench.speed.subject import CASES, Case, Shapes, Subject
from swq.quant.scheme import Scheme
from swq.reconstruct.module import BlockReconstruction
from swq.reconstruct.train import train_block
from swq.seeding import keyed_normals

TINY = Shapes(hidden=64, intermediate=96, heads=4, kv_heads=2)
OPT = Shapes(hidden=64, intermediate=96, heads=4, family="opt")
STEPS = 4
EVERY = [
    pytest.param(case, sw, shapes, id=f"{case.name}-{'sw' if sw else case.base}-{shapes.family}")
    for case in CASES
    for sw in (False, True)
    for shapes in (TINY, OPT)
]


def subject_of(fabric: Fabric, shapes: Shapes, case: Case) -> Subject:
    return Subject(fabric, shapes, Scheme.parse("w2a16g32"), tokens=16, samples=case.samples)


def product_module(subject: Subject, case: Case, sw: bool) -> BlockReconstruction:
    quantizer = subject.quantizer(case, STEPS)
    return BlockReconstruction(0, subject.block, subject.arguments, quantizer, case.loss(sw), normals)


def normals(key: tuple[int | str, ...], shape: tuple[int, ...]) -> Tensor:
    return keyed_normals(0, key, shape)


def drawn(step: int) -> Tensor:
    """Return the directions that the product draws in a step."""
    return normals((0, step, "target"), (64, 128))


@pytest.mark.parametrize(("case", "sw", "shapes"), EVERY)
def test_losses_of_a_training_agree(fabric: Fabric, case: Case, sw: bool, shapes: Shapes) -> None:
    subject = subject_of(fabric, shapes, case)
    trace = train_block(fabric, product_module(subject, case, sw), subject.data, 0, "the block", [STEPS])
    quantizer = case.reference(subject.linears, subject.scheme)
    optimizer = quantizer.optimizer()
    losses = [
        plain.train_step(
            subject.block,
            subject.arguments,
            quantizer,
            optimizer,
            subject.batch.hidden,
            subject.batch.fp_output,
            case.weights(sw),
            normals=drawn(step),
        )
        for step in range(STEPS)
    ]
    torch.testing.assert_close(losses, [step["loss"] for step in trace], rtol=1e-5, atol=0)
    assert len(set(losses)) == STEPS, "it trains"


def gradient(variables: list[Tensor]) -> Tensor:
    return torch.cat([variable.grad.flatten() for variable in variables if variable.grad is not None])


@pytest.mark.parametrize(("case", "sw", "shapes"), EVERY)
def test_gradients_agree(fabric: Fabric, case: Case, sw: bool, shapes: Shapes) -> None:
    subject = subject_of(fabric, shapes, case)
    module = product_module(subject, case, sw)
    optimizer = module.quantizer.start_round(0)
    module.training_step(subject.batch, 0)["loss"].backward()
    quantizer = case.reference(subject.linears, subject.scheme)
    plain.train_step(
        subject.block,
        subject.arguments,
        quantizer,
        torch.optim.SGD(quantizer.parameters(), lr=0.0),
        subject.batch.hidden,
        subject.batch.fp_output,
        case.weights(sw),
        normals=drawn(0),
    )
    if isinstance(quantizer, plain.PlainOmniQuant):
        variables = [[end for ends in zip(quantizer.low, quantizer.up, strict=True) for end in ends]]
    else:
        variables = [list(quantizer.rounding), list(quantizer.factor)]
    for group, plain_group in zip(optimizer.param_groups, variables, strict=True):
        ours, theirs = gradient(group["params"]), gradient(plain_group)
        apart = (ours - theirs).abs() > 1e-3 * ours.abs() + 1e-5 * ours.abs().max()
        assert apart.sum() <= 1, "only a variable on a clamp's very edge may fall on either side of it"


@pytest.mark.parametrize("soft_share", [0.75, 0.25])
def test_the_share_that_stays_soft(fabric: Fabric, soft_share: float) -> None:
    subject = subject_of(fabric, TINY, CASES[0])
    quantizer = plain.PlainTesseraQ(subject.linears, 3, 32, soft_share)
    for rounding in quantizer.rounding:
        assert rounding.isfinite().float().mean().item() == pytest.approx(soft_share, abs=2 / rounding.numel())


def test_a_loss_that_is_not_finite_stops_it(fabric: Fabric) -> None:
    case = CASES[0]
    subject = subject_of(fabric, TINY, case)
    quantizer = case.reference(subject.linears, subject.scheme)
    hidden = torch.full_like(subject.batch.hidden, torch.nan)
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        plain.train_step(
            subject.block,
            subject.arguments,
            quantizer,
            quantizer.optimizer(),
            hidden,
            subject.batch.fp_output,
            {"mse": 1.0},
        )
