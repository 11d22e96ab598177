"""What one cell costs: the seconds of its stages, its peak memory and its disk space."""

from __future__ import annotations

from dataclasses import dataclass

from bench.config.cell import Cell
from bench.config.params import Params
from bench.config.protocol import Protocol
from bench.config.tasks import scored_tasks
from bench.preflight.bytes import (
    artefact_bytes,
    cell_disk_bytes,
    host_bytes,
    reconstruct_device_bytes,
    score_device_bytes,
)
from bench.preflight.seconds import Rates, reconstruct_seconds, score_seconds
from bench.preflight.shapes import Shapes
from bench.preflight.workload import work_of

CONTEXT_TOKENS, CHOICE_TOKENS = 30, 10  # of a document: what its choices share, and what each adds
TEXT_TOKENS = {True: 288_000, False: 341_000}  # WikiText-2's test split, for a vocabulary above 50,000 and for others


@dataclass(frozen=True)
class Cost:
    """What one cell costs.

    Attributes:
        reconstruct: seconds of that stage.
        score: seconds of that stage.
        host: bytes, peak of host memory.
        reconstruct_device: bytes, peak of GPU memory while reconstructing.
        score_device: the same while scoring, all weights on the card.
        disk: bytes that stay on disk.
        resume: bytes of the finished blocks, which stay on disk beside the artefact until that is stored.
    """

    reconstruct: float
    score: float
    host: float
    reconstruct_device: float
    score_device: float
    disk: float
    resume: float


def cost(params: Params, cell: Cell, shapes: Shapes, rates: Rates) -> Cost:
    """Return what one cell of a model with these shapes costs."""
    work, protocol = work_of(cell, params.calibrations[cell.calibration]), params.protocol
    seq_len, half = protocol.perplexity.seq_len, protocol.dtype != "float32"
    windows, tasks = window_tokens(protocol, shapes.vocabulary), task_tokens(protocol)
    if cell.scheme is not None:  # for KL, both models read these windows, the quantized one once more
        windows += 2 * kl_tokens(protocol)
    return Cost(
        reconstruct=reconstruct_seconds(shapes, work, rates),
        score=score_seconds(shapes, windows, seq_len, tasks, n_passes(protocol, windows), half, rates),
        host=host_bytes(shapes, work),
        reconstruct_device=reconstruct_device_bytes(shapes, work),
        score_device=score_device_bytes(shapes, seq_len, protocol.batch_tokens, 2 if half else 4),
        disk=cell_disk_bytes(shapes, work),
        resume=artefact_bytes(shapes, work),
    )


def window_tokens(protocol: Protocol, vocabulary: int) -> int:
    """Tokens of all perplexity windows; a text that is scored whole is assumed to be as long as WikiText-2's."""
    lengths = (text.n_windows for text in protocol.perplexity.texts.values())
    return sum(n * protocol.perplexity.seq_len if n else TEXT_TOKENS[vocabulary > 50_000] for n in lengths)


def kl_tokens(protocol: Protocol) -> int:
    """Tokens of the windows on which the divergence from full precision is measured."""
    perplexity, asked = protocol.perplexity, protocol.perplexity.kl_windows or 0
    return sum(min(asked, text.n_windows or asked) for text in perplexity.texts.values()) * perplexity.seq_len


def task_tokens(protocol: Protocol) -> int:
    """Tokens of all documents, the choices of each side by side: about 30, and 10 more a choice."""
    sizes = ((scored_tasks()[task].n_documents, scored_tasks()[task].n_choices) for task in protocol.tasks)
    return sum(min(n, protocol.limit or n) * (CONTEXT_TOKENS + choices * CHOICE_TOKENS) for n, choices in sizes)


def n_passes(protocol: Protocol, windows: int) -> float:
    """Forward passes: one per window, and one per batch of documents."""
    return windows / protocol.perplexity.seq_len + task_tokens(protocol) / protocol.batch_tokens
