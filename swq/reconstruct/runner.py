"""The walk over blocks: targets from the full-precision path, inputs from the quantized path, one block at a time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from lightning.fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from swq.checkpoint import added_biases, pack_weight, unpack_weight
from swq.errors import UserError
from swq.methods.quantizer import BlockContext, BlockQuantizer, start_normals
from swq.models.adapter import DecoderModel
from swq.pieces import Pieces
from swq.quant.moments import Moments
from swq.reconstruct.compensate import compensated, require_biases
from swq.reconstruct.data import ActivationPaths, BlockData, to_device
from swq.reconstruct.module import BlockReconstruction, Normals
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord, load_block, save_block
from swq.reconstruct.saliency import squared_gradients
from swq.reconstruct.train import NonFiniteLoss, train_block
from swq.seeding import keyed_normals

SLOWER = 0.1  # times the recipe's learning rates, for a block whose loss became NaN or infinite


def reconstruct(
    fabric: Fabric,
    model: DecoderModel,
    recipe: Recipe,
    calibration: Tensor | None = None,
    resume: Pieces | None = None,
    normals: Normals | None = None,
    progress: bool = True,
) -> Iterator[BlockRecord]:
    """Reconstruct the blocks of a model in order and yield each one's record. Blocks found in `resume` are not redone.

    A block whose loss becomes NaN or infinite is trained once more from its start, at a lower rate.

    Args:
        fabric: owns device, precision and strategy.
        model: stays unchanged.
        recipe: what to do.
        calibration: (N, T) int64 tokens; required if the method needs calibration.
        resume: where finished blocks are kept; None keeps nothing.
        normals: source of random directions; by default keyed by (seed, block, step, target).
        progress: show a bar.

    Raises:
        UserError: the loss of a block became NaN or infinite at the lower rate too, calibration tokens are missing or
            too few for the loss, or the recipe does not fit the model.
    """
    if recipe.scheme is None:
        return
    check_fits(model, recipe)
    if recipe.needs_calibration and calibration is None:
        what = "bias_compensation" if recipe.bias_compensation else type(recipe.method).__name__
        raise UserError(f"{what} needs calibration tokens")
    if recipe.loss and recipe.loss.needs_other and calibration is not None and len(calibration) < 2:
        raise UserError("loss: sw_mismatched needs another sample's output, and there is only one calibration sample")
    kept = [load_block(resume, index) if resume else None for index in range(len(model.blocks))]
    last = max((index for index, record in enumerate(kept) if record is None), default=-1)  # that has to be made
    normals = normals or (lambda key, shape: keyed_normals(recipe.seed, ("sw", *key), shape))
    paths = None
    if recipe.needs_calibration and calibration is not None and last >= 0:
        paths = ActivationPaths(fabric, model, calibration)
    steps = max(1, sum(recipe.method.epoch_lengths(len(paths.fp_hidden)))) if paths else 1
    total = len(model.blocks) * steps
    with tqdm(total=total, desc="reconstruct", unit="step", mininterval=1, disable=not progress) as bar:
        saliency: list[dict[str, Tensor]] = []
        if paths and calibration is not None and recipe.method.gradient_samples:
            bar.set_postfix_str("saliency of the weights")
            saliency = squared_gradients(fabric, model, calibration[: recipe.method.gradient_samples])
        walk = _Walk(fabric, model, recipe, paths, normals, bar.update, saliency)
        for index, record in enumerate(kept):
            bar.set_postfix_str(f"block {index + 1}/{len(model.blocks)}", refresh=False)
            if index <= last:
                with model.filled(index, fabric.device):
                    if record is None:
                        record, fp_output = walk.make(index)
                        if resume:
                            save_block(resume, index, record)
                    else:
                        fp_output = paths.block_data(index, with_aug=False).fp_output if paths else None
                    if paths and fp_output is not None:
                        paths.advance(index, fp_output, walk.stored(index, record))
            assert record is not None
            bar.update((index + 1) * steps - bar.n)
            yield record


def check_fits(model: DecoderModel, recipe: Recipe) -> None:
    """Raise unless a recipe fits a model, whose weights are not read.

    Raises:
        UserError: groups do not divide a linear's inputs, the method needs scale pairs and the model has none, or
            biases are to be shifted and it has none, or a setting of the method is too large for a linear.
    """
    blocks = ((model.block_name(index), model.linears(index)) for index in range(len(model.blocks)))
    linears = {f"{block}.{name}": linear for block, linears in blocks for name, linear in linears.items()}
    if recipe.scheme is not None:
        recipe.scheme.check_inputs({path: linear.in_features for path, linear in linears.items()})
        recipe.method.check_shapes({path: (ln.out_features, ln.in_features) for path, ln in linears.items()})
    if recipe.method.needs_pairs:
        model.require_pairs(type(recipe.method).__name__)
    if recipe.bias_compensation:
        require_biases(model)


@dataclass(frozen=True)
class _Walk:
    """What every block of one reconstruction is made with."""

    fabric: Fabric
    model: DecoderModel
    recipe: Recipe
    paths: ActivationPaths | None
    normals: Normals
    on_step: Callable[[], object]
    saliency: Sequence[dict[str, Tensor]] = ()

    def make(self, index: int) -> tuple[BlockRecord, Tensor | None]:
        """Return a block's record and its output on the full-precision path. The training state is freed."""
        began = time.perf_counter()
        quantizer = self.recipe.method.quantizer(self._context(index))
        if self.paths is None:
            return self.record(index, quantizer, began), None
        data = self.paths.block_data(index, any(map(quantizer.aug_loss, range(quantizer.rounds))))
        if self.recipe.loss is None:
            return self.record(index, quantizer, began), data.fp_output
        try:
            return self.record(index, quantizer, began, self._train(index, quantizer, data, 1.0)), data.fp_output
        except NonFiniteLoss as error:
            first = str(error)
        warnings.warn(f"{first}; the block is trained again at {SLOWER} times the learning rate", stacklevel=1)
        quantizer = self.recipe.method.quantizer(self._context(index))
        try:
            trace = self._train(index, quantizer, data, SLOWER)
        except NonFiniteLoss as error:
            raise NonFiniteLoss(f"{error}; that was at {SLOWER} times the learning rate, after {first}") from error
        return self.record(index, quantizer, began, trace, first), data.fp_output

    def record(
        self,
        index: int,
        quantizer: BlockQuantizer,
        began: float,
        trace: list[dict[str, float]] | None = None,
        retried: str | None = None,
    ) -> BlockRecord:
        """Return what a block's quantizer has come to, as it is kept and stored."""
        result, name = quantizer.finalize(), self.model.block_name(index)
        if self.recipe.bias_compensation:
            assert self.paths is not None, "a recipe that compensates says needs_calibration"
            linears, names = self.model.linears(index), self.model.with_bias(index)
            result = compensated(self.paths, index, linears, result, names, self._scale_dtype)
        packed: dict[str, Tensor] = {}
        for linear, weight in result.weights.items():
            packed |= pack_weight(f"{name}.{linear}", weight, result.added_biases.get(linear))
        return BlockRecord(
            shapes={f"{name}.{linear}": tuple(weight.codes.shape) for linear, weight in result.weights.items()},
            packed=packed,
            changed={f"{name}.{key}": value.cpu() for key, value in result.changed.items()},
            learned={f"{name}.{key}": value for key, value in result.learned.items()},
            trace=trace or [],
            seconds=round(time.perf_counter() - began, 3),
            retried=retried,
        )

    def stored(self, index: int, record: BlockRecord) -> dict[str, Tensor]:
        """Return a block's stored tensors by their names inside it: what is propagated is what was stored."""
        assert self.recipe.scheme is not None
        weights = {
            f"{path}.weight": unpack_weight(
                path, record.packed, shape, self.recipe.scheme, self.fabric.device
            ).dequantize()
            for path, shape in record.shapes.items()
        }
        prefix = f"{self.model.block_name(index)}."
        stored = weights | record.changed | added_biases(record.packed)
        return {path.removeprefix(prefix): tensor for path, tensor in stored.items()}

    @property
    def _scale_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.recipe.scale_dtype)
        return dtype

    def _train(self, index: int, quantizer: BlockQuantizer, data: BlockData, rate: float) -> list[dict[str, float]]:
        assert self.paths is not None and self.recipe.loss is not None
        block, kwargs = self.model.blocks[index], self.paths.kwargs(index)

        def normals(key: tuple[int | str, ...], shape: tuple[int, ...]) -> Tensor:
            return to_device(self.fabric, self.normals(key, shape))

        module = BlockReconstruction(index, block, kwargs, quantizer, self.recipe.loss.in_block(index), normals)
        epochs = self.recipe.method.epoch_lengths(len(data.hidden))
        name = self.model.block_name(index)
        return train_block(self.fabric, module, data, self.recipe.seed, name, epochs, self.on_step, rate)

    def _context(self, index: int) -> BlockContext:
        def moments(
            names: Iterable[str], group_size: int | None, n_tokens: int, tensors: dict[str, Tensor] | None = None
        ) -> dict[str, Moments]:
            assert self.paths is not None, "a method that asks for moments says needs_calibration"
            return self.paths.moments(index, names, group_size, n_tokens, tensors)

        assert self.recipe.scheme is not None
        return BlockContext(
            block=self.model.blocks[index],
            linears=self.model.linears(index),
            scheme=self.recipe.scheme,
            scale_dtype=self._scale_dtype,
            not_clipped=self.model.family.not_clipped,
            pairs=self.model.scale_pairs(index),
            moments=moments,
            query_key=self.model.family.query_key,
            normals=partial(start_normals, self.recipe.seed, index),
            saliency=self.saliency[index] if self.saliency else {},
        )
