"""The memory and disk that a cell needs, in bytes, by formulas over its model's shapes. Letters as in seconds.py."""

from __future__ import annotations

from bench.preflight.seconds import FLOAT, STORED
from bench.preflight.shapes import Shapes
from bench.preflight.workload import Work

GIB = 2**30
LIBRARIES = 1.5 * GIB  # of a process that has torch and CUDA loaded, on the host
CONTEXT = 0.5 * GIB  # CUDA's own, on the card
SAMPLES_HELD = 3  # tensors N T C on the host: inputs of both paths and the target
ANSWER = 170  # tokens of the longest requests of a batch of documents
SCORES = 10e6  # bytes of a cell's items and token losses
PACKED_TOO = 6.2  # times a packed text: its file, the text unpacked beside it, and the text as it is stored


def host_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of host memory while reconstructing: libraries, two blocks, 3 N T C floats (4 with a second target), and
    what is packed so far."""
    held = SAMPLES_HELD + any(phase.targets > 1 for phase in work.phases)
    samples = held * work.samples * work.tokens * shapes.hidden * FLOAT if work.calibrated else 0
    blocks = 2 * shapes.block_parameters * FLOAT if work.bits else 0
    return LIBRARIES + blocks + samples + artefact_bytes(shapes, work)


def reconstruct_device_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of GPU memory while reconstructing: a float32 block, `state_bytes` per quantized weight, 4 temporary
    tensors as large as the largest linear, the moments of a search, and a batch's activations."""
    if not work.bits:
        return CONTEXT
    weights = FLOAT * shapes.block_parameters + work.state_bytes * shapes.quantized + 4 * FLOAT * shapes.largest
    activations = batch_bytes(shapes, work) if work.calibrated else 0
    return CONTEXT + weights + moment_bytes(shapes, work) + activations


def batch_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of a batch of B samples: about 16 tensors B T C and 6 of the widest channels kept for the gradient, two
    B x heads x T x T of the attention (none if its kernel does not store scores), and 4 float32 B T C of the loss."""
    samples = min(work.samples, max((phase.samples for phase in work.phases), default=1))
    tokens, element = samples * work.tokens, 2 if work.half else FLOAT
    kept = tokens * (16 * shapes.hidden + 6 * shapes.widest) * element
    attention = 2 * samples * shapes.heads * work.tokens**2 * element
    return kept + attention + 4 * tokens * shapes.hidden * FLOAT


def moment_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of in x g floats of every linear that AWQ searches, and of the largest three times while adding to it."""
    if work.search is None:
        return 0
    sizes = [linear.inputs * linear.group(work.search.moments_group) for linear in shapes.linears]
    return FLOAT * (sum(sizes) + 3 * max(sizes))


def score_device_bytes(shapes: Shapes, seq_len: int, batch_size: int, element: int) -> float:
    """Bytes of GPU memory while scoring: all weights at `element` bytes, 4 float32 of the largest linear while it is
    unpacked, and logits: of a window once and of 512 positions twice in float32, or of a batch of documents twice."""
    from swq.perplexity import POSITIONS_AT_ONCE  # here, because it imports torch

    window = shapes.vocabulary * (seq_len * element + 2 * POSITIONS_AT_ONCE * FLOAT)
    documents = 2 * batch_size * ANSWER * shapes.vocabulary * element
    return CONTEXT + element * shapes.parameters + 4 * FLOAT * shapes.largest + max(window, documents)


def artefact_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes of a packed model: codes, a scale and a zero point per group, and what was learned for each group."""
    if not work.bits:
        return 0
    groups = sum(linear.weights // linear.group(work.group) for linear in shapes.linears)
    per_group = work.scale_bytes + work.bits / 8 + work.learned * FLOAT
    return shapes.blocks * (shapes.quantized * work.bits / 8 + groups * per_group)


def cell_disk_bytes(shapes: Shapes, work: Work) -> float:
    """Bytes that a cell leaves on disk: artefact and scores. DVC's cache holds links to them."""
    return artefact_bytes(shapes, work) + SCORES


def checkpoint_bytes(shapes: Shapes) -> float:
    """Bytes of a checkpoint in half precision."""
    return STORED * shapes.parameters
