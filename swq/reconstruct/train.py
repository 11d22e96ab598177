"""The training of one block: rounds of optimiser steps, and what is recorded of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from swq.errors import UserError
from swq.losses import Loss
from swq.reconstruct.data import BlockData
from swq.reconstruct.module import BlockReconstruction
from swq.seeding import keyed_generator


class NonFiniteLoss(UserError):
    """The loss of a block became NaN or infinite; names the block, the step and the last good value."""


def train_block(
    fabric: Fabric,
    module: BlockReconstruction,
    data: BlockData,
    seed: int,
    name: str,
    epoch_lengths: list[int],
    on_step: Callable[[], object] = lambda: None,
    rate: float = 1.0,
) -> list[dict[str, float]]:
    """Train the quantizer of one block, round by round, and return every step's loss and terms.

    If the loss has several terms, each term's share of the gradient norms is measured in the first step of every epoch.

    Args:
        fabric: owns device and precision.
        module: the block, its quantizer and its loss.
        data: inputs and targets.
        seed: of the order of batches.
        name: of the block, for messages.
        epoch_lengths: steps of each epoch.
        on_step: called after every step.
        rate: times the recipe's learning rates.

    Raises:
        NonFiniteLoss: it names the block, the step and the last good value.
    """
    try:
        return _train(fabric, module, data, seed, name, {0, *accumulate(epoch_lengths)}, on_step, rate)
    finally:
        _forget(fabric, module)


def _train(
    fabric: Fabric,
    module: BlockReconstruction,
    data: BlockData,
    seed: int,
    name: str,
    firsts: set[int],
    on_step: Callable[[], object],
    rate: float,
) -> list[dict[str, float]]:
    quantizer = module.quantizer
    wrapped = fabric.setup_module(module)
    _fresh_scaler(fabric)
    if module.loss.normalised:
        module.loss = _normalised(fabric, module, data)
    generator = keyed_generator(seed, "batches", module.index)
    trace: list[dict[str, float]] = []
    for round_index in range(quantizer.rounds):
        optimizer: Any = fabric.setup_optimizers(_slowed(quantizer.start_round(round_index), rate))
        targets = data if quantizer.aug_loss(round_index) else data.without_aug()
        for indices in quantizer.batches(round_index, len(data.hidden), generator):
            with fabric.autocast():  # on one device Fabric enters it for forward() only, not for training_step()
                values = wrapped.training_step(targets.batch(fabric, indices), len(trace))
            step = dict(zip(values, torch.stack([v.detach() for v in values.values()]).tolist(), strict=True))
            if not math.isfinite(step["loss"]):
                last = f"the last good value was {trace[-1]['loss']:.6g}" if trace else "it was the first step"
                raise NonFiniteLoss(f"{name}: the loss became {step['loss']} at step {len(trace)}; {last}")
            optimizer.zero_grad()
            if len(values) > 2 and len(trace) in firsts:
                step |= _gradient_shares(fabric, values, optimizer)
            trace.append(step)
            fabric.backward(values["loss"])
            optimizer.step()
            on_step()
    return trace


def _slowed(optimizer: Optimizer, rate: float) -> Optimizer:
    for group in optimizer.param_groups:
        group["lr"] *= rate
    return optimizer


def _fresh_scaler(fabric: Fabric) -> None:
    """Start every block with the same gradient scale, so that it does not depend on earlier blocks or on a resume.

    As usual, the scaler skips steps whose half-precision gradients overflow. Their loss is still recorded.
    """
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if scaler is not None:
        scaler.load_state_dict(torch.amp.GradScaler(fabric.device.type).state_dict())


def _forget(fabric: Fabric, module: BlockReconstruction) -> None:
    """Free a trained block's state: rounding variables and optimiser moments are four times the size of its weights.

    Fabric keeps every LightningModule that it ever set up as a callback, and offers no public way to remove one.
    """
    fabric._callbacks[:] = [callback for callback in fabric._callbacks if callback is not module]


def _gradient_shares(fabric: Fabric, values: dict[str, Tensor], optimizer: Any) -> dict[str, float]:
    """Return each term's gradient norm over the sum of all terms' norms. Leaves the gradients empty.

    It is a ratio, so the gradient scale of mixed precision cancels.
    """
    norms: dict[str, float] = {}
    for term in (name for name in values if name != "loss"):  # fixed order: a set's depends on the hash seed
        fabric.backward(values[term], retain_graph=True)
        gradients = [p.grad.norm() for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms[term] = torch.stack(gradients).norm().item()
        optimizer.zero_grad()
    total = sum(norms.values()) or 1.0
    return {f"{term}_grad_share": norm / total for term, norm in sorted(norms.items())}


@torch.no_grad()
def _normalised(fabric: Fabric, module: BlockReconstruction, data: BlockData) -> Loss:
    """Return the loss with SW scaled to the size of the other terms, over all samples, before anything is trained."""
    loss, plain = module.loss, module.loss.with_sw_scaled(1.0)
    sums = dict.fromkeys(loss.active, 0.0)
    for sample in range(len(data.hidden)):
        batch = data.batch(fabric, [sample])
        with fabric.autocast():
            output = module(batch.hidden)
        draw = partial(module.normals, (module.index, sample, "normalise"))
        _, terms = plain(batch.fp_output, output, draw)
        sums = {term: sums[term] + value.item() / loss.weights[term] for term, value in terms.items()}
    others = [term for term in sums if term != "sw"]
    size = sum(loss.weights[term] * sums[term] for term in others) / sum(loss.weights[term] for term in others)
    return loss.with_sw_scaled(size / sums["sw"]) if sums["sw"] else plain
