"""The walk over blocks: targets from the full-precision path, inputs from the quantized path, one block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lightning.fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from swq.checkpoint import pack_weight, unpack_weight
from swq.errors import UserError
from swq.methods.base import BlockContext, BlockQuantizer
from swq.models.adapter import DecoderModel
from swq.quant.affine import Scheme
from swq.quant.moments import Moments
from swq.reconstruct.data import ActivationPaths
from swq.reconstruct.module import BlockReconstruction, Normals
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord, ResumeFolder
from swq.reconstruct.train import train_block
from swq.seeding import keyed_normals


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
        calibration: (N, T) int64 tokens; required if the method needs calibration.
        resume: where finished blocks are kept; None keeps nothing.
        normals: source of random directions; by default keyed by (seed, block, step, target).

    Raises:
        UserError: the loss of a block became NaN or infinite, calibration tokens are missing, or the method needs
            scale pairs and the model has none.
    """
    if recipe.scheme is None:
        return
    if recipe.method.needs_pairs:
        model.require_pairs(type(recipe.method).__name__)
    normals = normals or (lambda key, shape: keyed_normals(recipe.seed, ("sw", *key), shape))
    paths = None
    if recipe.method.needs_calibration:
        if calibration is None:
            raise UserError(f"{type(recipe.method).__name__} needs calibration tokens")
        paths = ActivationPaths(fabric, model, calibration)
    steps = max(1, sum(recipe.method.epoch_lengths(len(paths.fp_hidden)))) if paths else 1
    with tqdm(total=len(model.blocks) * steps, desc="reconstruct", unit="step", mininterval=1) as bar:
        for index in range(len(model.blocks)):
            bar.set_postfix_str(f"block {index + 1}/{len(model.blocks)}", refresh=False)
            with model.filled(index, fabric.device):
                record = resume.load(index) if resume else None
                if record is None:
                    record, fp_output = _reconstruct_block(fabric, model, index, recipe, paths, normals, bar.update)
                    if resume:
                        resume.save(index, record)
                else:
                    fp_output = paths.block_data(index, with_aug=False).fp_output if paths else None
                if paths and fp_output is not None:
                    paths.advance(index, fp_output, _stored(model.block_name(index), record, recipe.scheme, fabric))
            bar.update((index + 1) * steps - bar.n)
            yield record


def _reconstruct_block(
    fabric: Fabric,
    model: DecoderModel,
    index: int,
    recipe: Recipe,
    paths: ActivationPaths | None,
    normals: Normals,
    on_step: Callable[[], object],
) -> tuple[BlockRecord, Tensor | None]:
    """Return a block's record and its output on the full-precision path. The training state is freed."""
    quantizer = recipe.method.quantizer(_context(model, index, recipe, paths))
    if paths is None:
        return _record(model.block_name(index), quantizer, []), None
    data = paths.block_data(index, any(map(quantizer.aug_loss, range(quantizer.rounds))))
    trace: list[dict[str, float]] = []
    if recipe.loss:
        module = BlockReconstruction(index, model.blocks[index], paths.kwargs(index), quantizer, recipe.loss, normals)
        epochs = recipe.method.epoch_lengths(len(data.hidden))
        trace = train_block(fabric, module, data, recipe.seed, model.block_name(index), epochs, on_step)
    return _record(model.block_name(index), quantizer, trace), data.fp_output


def _context(model: DecoderModel, index: int, recipe: Recipe, paths: ActivationPaths | None) -> BlockContext:
    def moments(names: Iterable[str], group_size: int | None, n_tokens: int) -> dict[str, Moments]:
        assert paths is not None, "a method that asks for moments says needs_calibration"
        return paths.moments(index, names, group_size, n_tokens)

    assert recipe.scheme is not None
    return BlockContext(
        block=model.blocks[index],
        linears=model.linears(index),
        scheme=recipe.scheme,
        scale_dtype=recipe.scale_dtype,
        not_clipped=model.family.not_clipped,
        pairs=model.scale_pairs(index),
        moments=moments,
    )


def _record(name: str, quantizer: BlockQuantizer, trace: list[dict[str, float]]) -> BlockRecord:
    result = quantizer.finalize()
    packed: dict[str, Tensor] = {}
    for linear, weight in result.weights.items():
        packed |= pack_weight(f"{name}.{linear}", weight)
    return BlockRecord(
        shapes={f"{name}.{linear}": tuple(weight.codes.shape) for linear, weight in result.weights.items()},
        packed=packed,
        changed={f"{name}.{key}": value.cpu() for key, value in result.changed.items()},
        learned={f"{name}.{key}": value for key, value in result.learned.items()},
        trace=trace,
    )


def _stored(name: str, record: BlockRecord, scheme: Scheme, fabric: Fabric) -> dict[str, Tensor]:
    """Return a block's stored tensors by their names inside it: the values that are propagated are the stored ones."""
    weights = {
        f"{path}.weight": unpack_weight(path, record.packed, shape, scheme, fabric.device).dequantize()
        for path, shape in record.shapes.items()
    }
    return {path.removeprefix(f"{name}."): tensor for path, tensor in (weights | record.changed).items()}
