"""What a cell costs in time, by formulas over its model's shapes. Arithmetic: nothing here is measured.

Letters: L blocks, C hidden size, V vocabulary, N samples, T tokens of a sample, K directions, all counts; P_b
parameters of a block, P_q those of its quantized linears. FLOPs over a rate and bytes over a bandwidth are added up, as
if nothing overlapped.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.preflight.shapes import Shapes
from bench.preflight.workload import Phase, Work

FLOAT = 4  # bytes of a float32
STORED = 2  # bytes of a checkpoint's parameter
CASTS = 3  # more passes under autocast: weights to half precision (1 read, 1/2 written), their gradients back
MOMENT_PASSES = 10  # reads and writes of a linear's second moments to add those of one more sample
COLUMN_KERNELS = 16  # that GPTQ starts for a column, each over one column of a weight or a few


@dataclass(frozen=True)
class Rates:
    """Assumed speeds of a GPU like an A100 and of its host: what is reached in practice of the data sheet's figures.

    Attributes:
        half: FLOP/s of half-precision products; a third of the 312e12 of the data sheet.
        single: FLOP/s of float32 products without TF32; three quarters of 19.5e12.
        memory: bytes/s of the card's memory; 60 % of 2.0e12.
        transfer: bytes/s between host and card, not pinned.
        disk: bytes/s at which safetensors are read.
        normals: standard normals/s that the host draws for the sliced-Wasserstein directions.
        reread: bytes/s at which blocks that do not fit the card are read again while scoring. Their files are cached in
            host memory.
        capacity: bytes of the card's memory.
        launch: seconds that the host takes to start a kernel, where it does too little for more.
        startup: seconds that a stage takes before anything is computed: imports, opening and hashing files.
    """

    half: float = 100e12
    single: float = 15e12
    memory: float = 1.2e12
    transfer: float = 10e9
    disk: float = 1e9
    normals: float = 1e8
    reread: float = 5e9
    capacity: float = 80 * 2**30
    launch: float = 10e-6
    startup: float = 30.0

    def products(self, half: bool) -> float:
        """Return the FLOP/s of products in half or single precision."""
        return self.half if half else self.single


# Two cores of a server without a GPU, as measured for one of the bundled suite's blocks. On another machine, a run
# corrects the time that it shows by what it measures.
CPU = Rates(half=100e9, single=100e9, memory=20e9, transfer=20e9, reread=20e9, capacity=0, startup=8)


def forward_flops(shapes: Shapes, tokens: int, seq_len: int) -> float:
    """FLOPs of a block on `tokens` tokens in samples of T: 2 P_b each for the products, 4 T C for the attention."""
    return tokens * (2 * shapes.block_parameters + 4 * seq_len * shapes.hidden)


def pass_seconds(shapes: Shapes, work: Work, rates: Rates) -> float:
    """Seconds of all samples through one block without gradient, copied from the host and back: 2 N T C floats."""
    tokens = work.samples * work.tokens
    copied = 2 * tokens * shapes.hidden * FLOAT
    return forward_flops(shapes, tokens, work.tokens) / rates.products(work.half) + copied / rates.transfer


def step_seconds(shapes: Shapes, work: Work, phase: Phase, rates: Rates) -> float:
    """Seconds of one step: 3 forward's FLOPs (6 P_b a token and the attention's: forward, gradients of inputs and of
    weights), `passes` over 4 P_q bytes, and the batch's input and targets from the host."""
    tokens = min(phase.samples, work.samples) * work.tokens
    compute = 3 * forward_flops(shapes, tokens, work.tokens) / rates.products(work.half)
    traffic = (phase.passes + CASTS * work.half) * FLOAT * shapes.quantized / rates.memory
    copied = (1 + phase.targets) * tokens * shapes.hidden * FLOAT / rates.transfer
    return compute + traffic + copied + phase.targets * sliced_seconds(shapes, work, tokens, rates)


def sliced_seconds(shapes: Shapes, work: Work, tokens: int, rates: Rates) -> float:
    """Seconds of a sliced-Wasserstein term: both outputs projected and one gradient, 2 C K FLOPs a token each in
    float32, and C K normals from the host, more where tokens are pooled. Sorting is left out."""
    products = 3 * 2 * shapes.hidden * work.directions * tokens / rates.single
    return products + work.pooled * shapes.hidden * work.directions / rates.normals


def training_seconds(shapes: Shapes, work: Work, rates: Rates) -> float:
    """Seconds of training one block."""
    return sum(phase.steps * step_seconds(shapes, work, phase, rates) for phase in work.phases)


def search_seconds(shapes: Shapes, work: Work, rates: Rates) -> float:
    """Seconds of AWQ's searches in one block, in float32, for linears (out, in) and moments in groups of g.

    Moments: 2 in g FLOPs a token, and 10 passes over in x g floats a sample. Scales: 20 times 2 out in^2 per linear.
    Ranges: 10 times 2 out in g.
    """
    if work.search is None:
        return 0.0
    # Here, because they import torch, and a cell without a search is estimated without it.
    from swq.methods.awq.clip import N_CANDIDATES as N_RANGES
    from swq.methods.awq.search import N_RATIOS, SEARCH_TOKENS

    tokens = -(-work.tokens // max(1, work.tokens // SEARCH_TOKENS))
    flops, moved = 0.0, 0.0
    for linear in shapes.linears:
        moments = linear.inputs * linear.group(work.search.moments_group)
        flops += work.samples * tokens * 2 * moments
        moved += work.samples * MOMENT_PASSES * FLOAT * moments
        if work.search.scale and linear.scaled:
            flops += N_RATIOS * 2 * linear.weights * linear.inputs
        if work.search.clip and linear.clipped:
            flops += N_RANGES * 2 * linear.weights * linear.group(work.group)
    return flops / rates.single + moved / rates.memory


def solve_seconds(shapes: Shapes, work: Work, rates: Rates) -> float:
    """Seconds of GPTQ in one block, for linears (out, in). At most: linears that read the same input share the work.

    Moments: where linears take turns, a pass each; 2 in^2 FLOPs a token, and 10 passes over in^2 floats a sample. The
    inverse's factor: 4/3 in^3. Updates: out in^2. And the start of 16 kernels a column.
    """
    if work.solve is None:
        return 0.0
    flops, moved, columns = 0.0, 0.0, 0
    for linear in shapes.linears:
        flops += work.samples * work.tokens * 2 * linear.inputs**2 + 4 / 3 * linear.inputs**3
        flops += linear.weights * linear.inputs
        moved += work.samples * MOMENT_PASSES * FLOAT * linear.inputs**2
        columns += linear.inputs
    passes = len(shapes.linears) * work.solve.sequential
    started = columns * COLUMN_KERNELS * rates.launch
    return passes * pass_seconds(shapes, work, rates) + flops / rates.single + moved / rates.memory + started


def reconstruct_seconds(shapes: Shapes, work: Work, rates: Rates) -> float:
    """Seconds of the stage: start-up, the checkpoint read once, and L blocks: the full-precision and the quantized
    path, a pass for the second target and one for moments, search, GPTQ, training, and bias compensation's passes.
    Squared gradients take two forward passes and a backward pass, in float32."""
    if not work.bits:
        return rates.startup
    seconds = rates.startup + STORED * shapes.parameters / rates.disk
    if work.calibrated:
        second = any(phase.targets > 1 for phase in work.phases)
        block = (2 + second + work.moments) * pass_seconds(shapes, work, rates)
        block += search_seconds(shapes, work, rates) + solve_seconds(shapes, work, rates)
        block += training_seconds(shapes, work, rates)
        block += (len(shapes.linears) + 1) * work.compensated * pass_seconds(shapes, work, rates)
        tokens = work.gradient_samples * work.tokens
        block += 4 * forward_flops(shapes, tokens, work.tokens) / rates.single
        seconds += shapes.blocks * block
    return seconds


def streamed_bytes(shapes: Shapes, half: bool, rates: Rates) -> float:
    """Bytes that are read again in every forward pass: blocks that do not fit in three quarters of the card."""
    from bench.runtime import FREE_FOR_WEIGHTS

    element = 2 if half else FLOAT
    block = element * shapes.block_parameters
    left = FREE_FOR_WEIGHTS * (rates.capacity - element * shapes.other_parameters)
    resident = shapes.blocks if shapes.blocks * block <= left else max(0, int((left - block) // block))
    return (shapes.blocks - resident) * block


def score_seconds(
    shapes: Shapes, windows: float, seq_len: int, tasks: float, passes: float, half: bool, rates: Rates
) -> float:
    """Seconds of the stage: start-up, the checkpoint read once, 2 FLOPs per parameter of blocks and head for each of
    `windows` tokens of text in windows of `seq_len` and each of `tasks` tokens of documents, the attention of the
    former, and in each of `passes` the blocks that do not fit the card."""
    active = shapes.blocks * shapes.block_parameters + shapes.hidden * shapes.vocabulary
    flops = 2 * active * (windows + tasks) + shapes.blocks * 4 * seq_len * shapes.hidden * windows
    streamed = passes * streamed_bytes(shapes, half, rates) / rates.reread
    return rates.startup + STORED * shapes.parameters / rates.disk + flops / rates.products(half) + streamed
