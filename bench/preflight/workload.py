"""The work of a cell per block, counted in its configuration and in the code of the methods."""

from __future__ import annotations

from dataclasses import dataclass

from bench.config.cell import Cell
from bench.config.sections import Calibration
from swq.methods.apiq import ApiQ
from swq.methods.awq import AWQ
from swq.methods.base import Method
from swq.methods.gptq import GPTQ
from swq.methods.omniquant import OmniQuant
from swq.methods.tesseraq import TesseraQ

# Passes over the float32 weights per step, counted in the code: every read and every write of a tensor of their size.
OMNIQUANT_PASSES = 24  # fake quantization 20 forward, 4 backward; AdamW sees two factors per group only
LET_PASSES = 23  # added to those: the gradient of the weights 2, ranges anew 8, scales forward and back 8, shifts 5
ADAPTER_PASSES = 6  # added to those: the product 1, its sum with the weight 3, its two gradients 2
SALIENCY_PASSES = 19  # added to those: the weighted squared change 9 forward, 7 backward, the sum of gradients 3
TESSERAQ_PASSES = 52  # soft weights 35 forward, 10 backward; fused Adam, as many variables as weights, 7
# Bytes on the card per quantized weight, in addition to the block's: every tensor of their size that is alive at once.
FOUND_BYTES = 5  # what is rounded (4) and its codes (1)
OMNIQUANT_BYTES = 8  # rounded weights and the slope of the rounding
LET_BYTES = 5  # added to those: transformed weights, and where the rounding clamps (1)
SHARES_BYTES = {False: 3, True: 1}  # added to OmniQuant's in the step that measures gradient shares; by `half`
SALIENCY_BYTES = 16  # in place of those, with the saliency, and the change of the weights
TESSERAQ_BYTES = 32  # floor, variables, their gradient, two moments, slope, codes and weights, 4 each
AWQ_BYTES = 4  # added to those where it starts from AWQ: the transformed weights
HALF_BYTES = 2  # added under autocast: the weights in half precision


@dataclass(frozen=True)
class Phase:
    """Steps of training with one kind of variable.

    Attributes:
        steps: per block.
        samples: per step.
        passes: reads and writes of a float32 tensor as large as the quantized weights, per step.
        targets: outputs that the block's output is compared with: 1, or 2 with aug_loss.
    """

    steps: int
    samples: int
    passes: float
    targets: int = 1


@dataclass(frozen=True)
class Search:
    """AWQ's search: for scales, for ranges, and the input channels of a group of its moments (None: all)."""

    scale: bool
    clip: bool
    moments_group: int | None


@dataclass(frozen=True)
class Solve:
    """GPTQ's rounding: whether linears take turns, each with a pass for the moments of its inputs."""

    sequential: bool


@dataclass(frozen=True)
class Work:
    """The work of a cell per block.

    Attributes:
        samples: N; an upper bound where documents are packed.
        tokens: T.
        calibrated: calibration tokens flow through the blocks.
        half: products in half precision.
        phases: the phases of training, in order.
        search: the search before training.
        solve: GPTQ's rounding column by column.
        moments: whether a separate pass gathers moments of the inputs of all linears, for the search, LET or GPTQ.
        directions: K; 0 without a sliced-Wasserstein term.
        pooled: tokens that it pools into one sample.
        bits: per code; 0 where nothing is quantized.
        group: input channels that share a scale; None is all.
        scale_bytes: of a stored scale.
        state_bytes: on the card per quantized weight, in addition to the block's own.
        learned: float32 values per group that are kept for study.
        rank: of an adapter that every linear gets.
        compensated: whether a pass for each linear, and one more, follow for its mean inputs.
        gradient_samples: samples on which squared gradients of the whole model are computed first.
    """

    samples: int
    tokens: int
    calibrated: bool = False
    half: bool = False
    phases: tuple[Phase, ...] = ()
    search: Search | None = None
    solve: Solve | None = None
    moments: bool = False
    directions: int = 0
    pooled: int = 1
    bits: int = 0
    group: int | None = None
    scale_bytes: int = 2
    state_bytes: float = 0
    learned: int = 0
    rank: int = 0
    compensated: bool = False
    gradient_samples: int = 0


def work_of(cell: Cell, calibration: Calibration) -> Work:
    """Translate a cell into its work per block."""
    method, scheme, loss = cell.method, cell.scheme, cell.loss
    first = method.start if isinstance(method, TesseraQ) else method
    let, half = isinstance(first, OmniQuant) and first.let, cell.precision != "32-true"
    search = None
    if isinstance(first, AWQ) and scheme:
        search = Search(first.scale, first.clip, None if first.scale else scheme.group_size)
    solve = Solve(method.true_sequential) if isinstance(method, GPTQ) else None
    return Work(
        samples=calibration.n_samples,
        tokens=calibration.seq_len,
        calibrated=cell.recipe.needs_calibration,
        half=half,
        phases=phases(method, calibration.n_samples),
        search=search,
        solve=solve,
        moments=search is not None or let or (solve is not None and not solve.sequential),
        directions=loss.n_projections if loss and (cell.has_sw or cell.has_placebo) else 0,
        pooled=loss.sw_block_size if loss else 1,
        bits=scheme.n_bits if scheme else 0,
        group=scheme.group_size if scheme else None,
        scale_bytes=2 if cell.scale_dtype == "float16" else 4,
        state_bytes=_state_bytes(cell, half),
        learned=_learned(method),
        rank=method.rank if isinstance(method, ApiQ) else 0,
        compensated=cell.bias_compensation,
        gradient_samples=min(method.gradient_samples, calibration.n_samples),
    )


def phases(method: Method, n_samples: int) -> tuple[Phase, ...]:
    """Return the phases of training of one block. A method unknown here is treated like OmniQuant."""
    steps = sum(method.epoch_lengths(n_samples))
    if isinstance(method, TesseraQ):
        own = steps - sum(method.start.epoch_lengths(n_samples))
        return (*phases(method.start, n_samples), Phase(own, method.batch_size, TESSERAQ_PASSES))
    if isinstance(method, OmniQuant):
        return (Phase(steps, 1, OMNIQUANT_PASSES + LET_PASSES * method.let, 1 + method.aug_loss),)
    if isinstance(method, ApiQ):
        passes = OMNIQUANT_PASSES + ADAPTER_PASSES * bool(method.rank) + SALIENCY_PASSES * bool(method.gradient_samples)
        return (Phase(steps, 1, passes, 1 + method.aug_loss),)
    return (Phase(steps, 1, OMNIQUANT_PASSES),) if steps else ()


def _state_bytes(cell: Cell, half: bool) -> float:
    method = cell.method
    if not method.trains:
        return FOUND_BYTES
    if isinstance(method, TesseraQ):  # its state hides what LET or gradient shares need on top
        return TESSERAQ_BYTES + AWQ_BYTES * isinstance(method.start, AWQ) + HALF_BYTES * half
    if method.gradient_samples:
        return SALIENCY_BYTES
    let = isinstance(method, OmniQuant) and method.let
    shares = cell.loss is not None and len(cell.loss.active) > 1
    return OMNIQUANT_BYTES + LET_BYTES * let + SHARES_BYTES[half] * shares + HALF_BYTES * half


def _learned(method: Method) -> int:
    """Float32 values kept per group: OmniQuant's two factors, TesseraQ's one."""
    return 1 + _learned(method.start) if isinstance(method, TesseraQ) else 2 * method.trains
