"""The walk over blocks: targets from the full-precision path, inputs from the quantized path, one block at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from swq.checkpoint import pack_weight, unpack_weight
from swq.errors import UserError
from swq.losses import Loss
from swq.methods.base import BlockContext, BlockQuantizer, Method
from swq.models.adapter import DecoderModel
from swq.quant.affine import Scheme
from swq.reconstruct.data import ActivationPaths, BlockData
from swq.reconstruct.module import BlockReconstruction, Normals
from swq.reconstruct.resume import BlockRecord, ResumeFolder
from swq.seeding import keyed_generator, keyed_normals


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a reconstruction beside the model, the calibration tokens and the device.

    Attributes:
        method: which method, with its settings.
        scheme: bits and group size; None if the method needs none.
        loss: what is minimised; None if the method does not train.
        seed: of every random draw.
        scale_dtype: the dtype that scales are stored in.
    """

    method: Method
    scheme: Scheme | None
    loss: Loss | None
    seed: int = 0
    scale_dtype: torch.dtype = torch.float16

    def __post_init__(self) -> None:
        name = type(self.method).__name__
        if self.method.needs_scheme != (self.scheme is not None):
            raise UserError(f"{name} {'needs a scheme' if self.method.needs_scheme else 'takes no scheme'}")
        if self.method.trains != (self.loss is not None):
            raise UserError(f"{name} {'trains: it needs a loss' if self.method.trains else 'takes no loss'}")


def reconstruct(
    fabric: Fabric,
    model: DecoderModel,
    recipe: Recipe,
    calibration: Tensor | None = None,
    resume: ResumeFolder | None = None,
    normals: Normals | None = None,
) -> Iterator[BlockRecord]:
    """Reconstruct the blocks of a model in order and yield each one's record. Blocks found in `resume` are not redone.

    Args:
        fabric: owns device, precision and strategy.
        model: stays unchanged.
        recipe: what to do.
        calibration: (N, T) int64 tokens; needed if the method trains.
        resume: where finished blocks are kept; None keeps nothing.
        normals: source of random directions; by default keyed by (seed, block, step, target).

    Raises:
        UserError: the loss of a block became NaN or infinite, or calibration tokens are missing.
    """
    if recipe.scheme is None:
        return
    normals = normals or (lambda key, shape: keyed_normals(recipe.seed, ("sw", *key), shape))
    paths = None
    if recipe.method.trains:
        if calibration is None:
            raise UserError(f"{type(recipe.method).__name__} trains: it needs calibration tokens")
        paths = ActivationPaths(fabric, model, calibration)
    steps = recipe.method.epochs * recipe.method.steps_per_epoch(len(paths.fp_hidden)) if paths else 1
    with tqdm(total=len(model.blocks) * steps, desc="reconstruct", unit="step", mininterval=1) as bar:
        for index in range(len(model.blocks)):
            bar.set_postfix_str(f"block {index + 1}/{len(model.blocks)}", refresh=False)
            record = resume.load(index) if resume else None
            data = paths.block_data(index, recipe.method.aug_loss and record is None) if paths else None
            if record is None:
                quantizer = recipe.method.quantizer(_context(model, index, recipe, paths))
                trace: list[dict[str, float]] = []
                if paths and data and recipe.loss:
                    block, kwargs = model.blocks[index], paths.kwargs(index)
                    module = BlockReconstruction(index, block, kwargs, quantizer, recipe.loss, normals)
                    trace = train_block(fabric, module, data, recipe.seed, model.block_name(index), bar.update)
                record = _record(model.block_name(index), quantizer, trace)
                if resume:
                    resume.save(index, record)
            if paths and data:
                paths.advance(index, data.fp_output, _dequantized(model.block_name(index), record, recipe.scheme))
                model.blocks[index].cpu()
            bar.update((index + 1) * steps - bar.n)
            yield record


def train_block(
    fabric: Fabric,
    module: BlockReconstruction,
    data: BlockData,
    seed: int,
    name: str,
    on_step: Callable[[], object] = lambda: None,
) -> list[dict[str, float]]:
    """Train the quantizer of one block, round by round, and return every step's loss and terms.

    Raises:
        UserError: the loss became NaN or infinite; names the block, the step and the last good value.
    """
    quantizer = module.quantizer
    wrapped = fabric.setup_module(module)
    generator = keyed_generator(seed, "batches", module.index)
    trace: list[dict[str, float]] = []
    for round_index in range(quantizer.rounds):
        optimizer: Any = fabric.setup_optimizers(quantizer.start_round(round_index))
        for indices in quantizer.batches(round_index, len(data.hidden), generator):
            with fabric.autocast():  # on one device Fabric enters it for forward() only, not for training_step()
                values = wrapped.training_step(data.batch(fabric, indices), len(trace))
            step = dict(zip(values, torch.stack([v.detach() for v in values.values()]).tolist(), strict=True))
            if not math.isfinite(step["loss"]):
                last = f"the last good value was {trace[-1]['loss']:.6g}" if trace else "it was the first step"
                raise UserError(f"{name}: the loss became {step['loss']} at step {len(trace)}; {last}")
            trace.append(step)
            optimizer.zero_grad()
            fabric.backward(values["loss"])
            optimizer.step()
            on_step()
    return trace


def _context(model: DecoderModel, index: int, recipe: Recipe, paths: ActivationPaths | None) -> BlockContext:
    def linear_input(name: str, n_tokens: int) -> Tensor:
        if paths is None:
            raise UserError(f"{type(recipe.method).__name__} needs calibration tokens")
        return paths.linear_input(index, name, n_tokens)

    assert recipe.scheme is not None
    return BlockContext(model.linears(index), recipe.scheme, recipe.scale_dtype, linear_input)


def _record(name: str, quantizer: BlockQuantizer, trace: list[dict[str, float]]) -> BlockRecord:
    result = quantizer.finalize()
    packed: dict[str, Tensor] = {}
    for linear, weight in result.weights.items():
        packed |= pack_weight(f"{name}.{linear}", weight)
    return BlockRecord(
        shapes={f"{name}.{linear}": tuple(weight.codes.shape) for linear, weight in result.weights.items()},
        packed=packed,
        learned={f"{name}.{key}": value for key, value in result.learned.items()},
        trace=trace,
    )


def _dequantized(name: str, record: BlockRecord, scheme: Scheme) -> dict[str, Tensor]:
    """Return the stored weights of a block by their name inside it: what is propagated is what is stored."""
    return {
        f"{path.removeprefix(name + '.')}.weight": unpack_weight(path, record.packed, shape, scheme).dequantize()
        for path, shape in record.shapes.items()
    }
