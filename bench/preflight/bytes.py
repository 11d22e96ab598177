"""The memory and disk that a cell needs, in bytes, by formulas over its model's shapes. Letters as in seconds.py."""

from __future__ import annotations

from bench.preflight.seconds import FLOAT, STORED
from bench.preflight.shapes import Shapes
from bench.preflight.workload import FOUND_BYTES, Work

GIB = 2**30
LIBRARIES = 1.5 * GIB  # of a process that has torch and CUDA loaded, on the host
CONTEXT = 0.5 * GIB  # CUDA's own, on the card
SAMPLES_HELD = 3  # tensors N T C on the host: inputs of both paths and the target
GROUP_VALUES = 12  # float32 per group: factors, ranges, scales, and what the gradient keeps of them
ADAPTER_VALUES = 4  # float32 per value of an adapter: itself, its gradient, two moments
SCORES_KEPT = 3  # of an attention that caps its scores: products, capped ones and probabilities
SCORES = 10e6  # bytes of a cell's items and token losses
PACKED_TOO = 6.2  # times a packed text: its file, the text unpacked beside it, and the text as it is stored


def host_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of host memory while reconstructing: libraries, two blocks, 3 N T C floats (4 with a second target), what
    is packed so far, and, where the model's gradients are needed, these and each block's input for their samples."""
    held = SAMPLES_HELD + any(phase.targets > 1 for phase in work.phases)
    samples = held * work.samples * work.tokens * shapes.hidden * FLOAT if work.calibrated else 0
    blocks = 2 * shapes.block_parameters * FLOAT if work.bits else 0
    gradients = 0.0
    if work.gradient_samples:
        inputs = (shapes.blocks + 1) * work.gradient_samples * work.tokens * shapes.hidden
        gradients = FLOAT * (shapes.blocks * shapes.quantized + inputs)
    return LIBRARIES + blocks + samples + artefact_bytes(shapes, work) + gradients


def reconstruct_device_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of GPU memory while reconstructing: a float32 block, and what its search or its training needs, whichever
    is more. Where there is room, the calibration samples lie there too (swq/reconstruct/data.py); they are not counted.
    """
    if not work.bits:
        return CONTEXT
    return CONTEXT + FLOAT * shapes.block_parameters + max(search_bytes(shapes, work), train_bytes(shapes, work))


def search_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of a search, and of rounding what it found: what is rounded and its codes, 4 temporary tensors as large as
    the largest linear, moments, and a sample's activations. GPTQ rounds so too."""
    found = FOUND_BYTES * shapes.quantized + 4 * FLOAT * shapes.largest
    moments = moment_bytes(shapes, work) + solve_bytes(shapes, work)
    return found + moments + (batch_bytes(shapes, work, samples=1) if work.search or work.solve else 0)


def train_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of training: `state_bytes` per quantized weight, 12 float32 per group, 4 per value of an adapter, and a
    batch's activations."""
    if not work.phases:
        return 0
    samples = min(work.samples, max(phase.samples for phase in work.phases))
    state = work.state_bytes * shapes.quantized + GROUP_VALUES * FLOAT * n_groups(shapes, work)
    state += ADAPTER_VALUES * FLOAT * adapter_values(shapes, work)
    return state + batch_bytes(shapes, work, samples)


def batch_bytes(shapes: Shapes, work: Work, samples: int) -> float:
    """Bytes of a batch of B samples: of every linear, twice the channels that it puts out, kept for the gradient, and
    the batch's input and targets in float32. Attention keeps no scores where PyTorch's flash and memory-efficient
    kernels compute them again; where it caps them, 3 float32 for each head and pair of a sample's tokens."""
    tokens, element = samples * work.tokens, 2 if work.half else FLOAT
    kept = 2 * sum(linear.outputs for linear in shapes.linears) * element
    targets = 1 + max((phase.targets for phase in work.phases), default=1)
    scores = SCORES_KEPT * shapes.heads * work.tokens * FLOAT if shapes.eager else 0
    return tokens * (kept + targets * shapes.hidden * FLOAT + scores)


def n_groups(shapes: Shapes, work: Work) -> int:
    """Groups of a block's quantized weights."""
    return sum(linear.weights // linear.group(work.group) for linear in shapes.linears)


def adapter_values(shapes: Shapes, work: Work) -> int:
    """Values of the adapters of a block: rank times in plus out of every linear."""
    return work.rank * sum(linear.inputs + linear.outputs for linear in shapes.linears)


def moment_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of in x g floats of every linear that AWQ searches, and of the largest three times while adding to it."""
    if work.search is None:
        return 0
    sizes = [linear.inputs * linear.group(work.search.moments_group) for linear in shapes.linears]
    return FLOAT * (sum(sizes) + 3 * max(sizes))


def solve_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of GPTQ's moments, in x in floats: of one linear, or of all where they are gathered at once; and of what
    the largest is inverted with, five times as many float64."""
    if work.solve is None:
        return 0
    sizes = [linear.inputs**2 for linear in shapes.linears]
    return FLOAT * ((max(sizes) if work.solve.sequential else sum(sizes)) + 10 * max(sizes))


def score_device_bytes(shapes: Shapes, seq_len: int, batch_tokens: int, element: int) -> float:
    """Bytes of GPU memory while scoring: all weights at `element` bytes, 4 float32 of the largest linear while it is
    unpacked, and logits: of a window once and of 512 positions twice in float32, or of all tokens of a batch once."""
    from swq.perplexity import POSITIONS_AT_ONCE  # here, because it imports torch

    window = shapes.vocabulary * (seq_len * element + 2 * POSITIONS_AT_ONCE * FLOAT)
    documents = batch_tokens * shapes.vocabulary * element
    return CONTEXT + element * shapes.parameters + 4 * FLOAT * shapes.largest + max(window, documents)


def artefact_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of a packed model: codes, a scale and a zero point per group, adapters, and what was learned for each
    group."""
    if not work.bits:
        return 0
    per_group = work.scale_bytes + work.bits / 8 + work.learned * FLOAT
    adapters = work.scale_bytes * adapter_values(shapes, work)
    return shapes.blocks * (shapes.quantized * work.bits / 8 + n_groups(shapes, work) * per_group + adapters)


def cell_disk_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes that a cell leaves on disk: artefact and scores. DVC's cache holds links to them."""
    return artefact_bytes(shapes, work) + SCORES


def checkpoint_bytes(shapes: Shapes) -> float:
    """Bytes of a checkpoint in half precision."""
    return STORED * shapes.parameters
