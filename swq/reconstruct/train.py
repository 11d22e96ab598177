"""The training of one block: rounds of optimiser steps, and what is recorded of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from swq.errors import UserError
from swq.losses import SW_TERMS, Loss
from swq.reconstruct import ahead
from swq.reconstruct.data import BlockData
from swq.reconstruct.module import BlockReconstruction
from swq.reconstruct.shares import backward_with_shares
from swq.seeding import keyed_generator

READ_EVERY = 32  # steps; each reading of a loss waits until the device has computed it


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

    If the loss has several terms, each term's share of the gradient norms is measured in the first step of the last
    epoch. Where that overflows in half precision, it is the first one that does not.

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
        return _train(fabric, module, data, seed, name, sum(epoch_lengths[:-1]), on_step, rate)
    finally:
        _forget(fabric, module)


def _train(
    fabric: Fabric,
    module: BlockReconstruction,
    data: BlockData,
    seed: int,
    name: str,
    last_epoch: int,
    on_step: Callable[[], object],
    rate: float,
) -> list[dict[str, float]]:
    quantizer = module.quantizer
    wrapped = fabric.setup_module(module)
    data = data.nearest(fabric)
    _fresh_scaler(fabric)
    if module.loss.normalised:
        module.loss = _normalised(fabric, module, data)
    generator = keyed_generator(seed, "batches", module.index)
    trace, step, unmeasured = _Trace(name), 0, True
    for round_index in range(quantizer.rounds):
        optimizer: Any = fabric.setup_optimizers(_slowed(quantizer.start_round(round_index), rate))
        targets = data if quantizer.aug_loss(round_index) else data.without_aug()
        indices = quantizer.batches(round_index, len(data.hidden), generator)
        for batch in ahead.batches(fabric, module, targets, indices, step):
            with fabric.autocast():  # on one device Fabric enters it for forward() only, not for training_step()
                values = wrapped.training_step(batch, step)
            optimizer.zero_grad()
            if len(values) > 2 and step >= last_epoch and unmeasured:
                shares = backward_with_shares(fabric, values, optimizer)
                trace.add(values, shares)
                unmeasured = not shares
            else:
                trace.add(values)
                fabric.backward(values["loss"])
            optimizer.step()
            on_step()
            step += 1
        trace.read()
    return trace.steps


class _Trace:
    """The loss and the terms of every step. They stay on the device for up to `READ_EVERY` steps.

    A loss that is not finite is found at the next reading. The steps in between are in vain: the block is given up.
    """

    def __init__(self, name: str) -> None:
        self.steps: list[dict[str, float]] = []
        self._name = name
        self._unread: list[dict[str, Tensor]] = []
        self._shares: dict[int, dict[str, float]] = {}

    def add(self, values: dict[str, Tensor], shares: dict[str, float] | None = None) -> None:
        """Note a step's values, and its gradient shares if they were measured."""
        if shares:
            self._shares[len(self.steps) + len(self._unread)] = shares
        self._unread.append({name: value.detach() for name, value in values.items()})
        if len(self._unread) == READ_EVERY:
            self.read()

    def read(self) -> None:
        """Bring the values to the host.

        Raises:
            NonFiniteLoss: it names the first step whose loss is not finite.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        numbers = iter(torch.stack([value for values in unread for value in values.values()]).tolist())
        for values in unread:
            step = {name: next(numbers) for name in values}
            if not math.isfinite(step["loss"]):
                last = (
                    f"the last good value was {self.steps[-1]['loss']:.6g}" if self.steps else "it was the first step"
                )
                raise NonFiniteLoss(f"{self._name}: the loss became {step['loss']} at step {len(self.steps)}; {last}")
            self.steps.append(step | self._shares.get(len(self.steps), {}))


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


@torch.no_grad()
def _normalised(fabric: Fabric, module: BlockReconstruction, data: BlockData) -> Loss:
    """Return the loss with SW scaled to the size of the other terms, over all samples, before anything is trained."""
    loss, plain = module.loss, module.loss.with_sw_scaled(1.0)
    sums = dict.fromkeys(loss.active, 0.0)
    for sample in range(len(data.hidden)):
        batch = data.batch(fabric, [sample], loss.needs_other)
        with fabric.autocast():
            output = module(batch.hidden)
        draw = partial(module.normals, (module.index, sample, "normalise"))
        _, terms = plain(batch.outputs(output)["target"], draw)
        sums = {term: sums[term] + value.item() / loss.weights[term] for term, value in terms.items()}
    others = [term for term in sums if term not in SW_TERMS]
    size = sum(loss.weights[term] * sums[term] for term in others) / sum(loss.weights[term] for term in others)
    distance = sum(sums[term] for term in sums if term in SW_TERMS)
    return loss.with_sw_scaled(size / distance) if distance else plain
