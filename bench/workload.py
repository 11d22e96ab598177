"""What a cell asks of a model, counted in its configuration and in the code of the methods."""

from __future__ import annotations

from pathlib import Path

from bench.cell import Cell
from bench.config import Calibration, Params
from bench.costs import Linear, Phase, Search, Shapes, Work
from bench.stages.check import config_folder
from swq.errors import UserError
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.omniquant import OmniQuant
from swq.methods.tesseraq import TesseraQ
from swq.models.adapter import DecoderModel

# Passes over the float32 weights per step, counted in the code: every read and every write of a tensor of their size.
OMNIQUANT_PASSES = 20  # fake quantization 15.5 forward, 4 backward; AdamW sees two factors per group only
LET_PASSES = 23  # more: the gradient of the weights 2, ranges anew 8, scales forward and back 8, shifts 5
TESSERAQ_PASSES = 43  # soft codes and scale 26.5 forward, 9 backward; fused Adam, as many variables as weights, 7
# Bytes on the card per quantized weight, beside the block's: every tensor of their size that is alive at once.
FOUND_BYTES = 5  # what is rounded (4) and its codes (1)
OMNIQUANT_BYTES = 8  # rounded weights and the slope of the rounding
LET_BYTES = 5  # more: transformed weights, and where the rounding clamps (1)
TESSERAQ_BYTES = 36  # start, floor, variables, their gradient, two moments, slope, codes and weights, 4 each
HALF_BYTES = 2  # more under autocast: the weights in half precision


def shapes_of(params: Params, name: str) -> Shapes:
    """Read a model's shapes from its configuration alone.

    Raises:
        UserError: the configuration cannot be had.
    """
    folder: Path | None = config_folder(params, name)
    if folder is None:
        stage = "train-model" if name in params.trainings else "fetch-model"
        raise UserError(
            f"model {name} is not there yet, so its shapes are unknown: `dvc repro {stage}@{name}` makes it"
        )
    model = DecoderModel.skeleton(folder)
    scaled = {reader for pair in model.scale_pairs(0) for reader in pair.readers}
    linears = (
        Linear(linear.out_features, linear.in_features, path not in model.family.not_clipped, path in scaled)
        for path, linear in model.linears(0).items()
    )
    block = sum(parameter.numel() for parameter in model.blocks[0].parameters())
    everything = sum(parameter.numel() for parameter in model.model.parameters())
    config, n_blocks = model.model.config, len(model.blocks)
    return Shapes(
        blocks=n_blocks,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        vocabulary=config.vocab_size,
        block_parameters=block,
        other_parameters=everything - n_blocks * block,
        linears=tuple(linears),
    )


def work_of(cell: Cell, calibration: Calibration) -> Work:
    """Translate a cell into what it asks of every block."""
    method, scheme, loss = cell.method, cell.scheme, cell.loss
    first = method.start if isinstance(method, TesseraQ) else method
    let, half = isinstance(first, OmniQuant) and first.let, cell.precision != "32-true"
    search = None
    if isinstance(first, AWQ) and scheme:
        search = Search(first.scale, first.clip, None if first.scale else scheme.group_size)
    return Work(
        samples=calibration.n_samples,
        tokens=calibration.seq_len,
        calibrated=method.needs_calibration,
        half=half,
        phases=phases(method, calibration.n_samples),
        search=search,
        moments=search is not None or let,
        directions=loss.n_projections if loss and cell.has_sw else 0,
        pooled=loss.sw_block_size if loss else 1,
        bits=scheme.n_bits if scheme else 0,
        group=scheme.group_size if scheme else None,
        scale_bytes=2 if cell.scale_dtype == "float16" else 4,
        state_bytes=_state_bytes(method) + LET_BYTES * let + HALF_BYTES * (half and method.trains),
        learned=_learned(method),
    )


def phases(method: Method, n_samples: int) -> tuple[Phase, ...]:
    """Return the phases of training of one block. A method unknown here is taken for one like OmniQuant."""
    steps = sum(method.epoch_lengths(n_samples))
    if isinstance(method, TesseraQ):
        own = steps - sum(method.start.epoch_lengths(n_samples))
        return (*phases(method.start, n_samples), Phase(own, method.batch_size, TESSERAQ_PASSES))
    if isinstance(method, OmniQuant):
        return (Phase(steps, 1, OMNIQUANT_PASSES + LET_PASSES * method.let, 1 + method.aug_loss),)
    return (Phase(steps, 1, OMNIQUANT_PASSES),) if steps else ()


def _state_bytes(method: Method) -> float:
    if isinstance(method, TesseraQ):
        return TESSERAQ_BYTES
    return OMNIQUANT_BYTES if method.trains else FOUND_BYTES


def _learned(method: Method) -> int:
    """Float32 values kept per group: OmniQuant's two factors, TesseraQ's one."""
    return 1 + _learned(method.start) if isinstance(method, TesseraQ) else 2 * method.trains
