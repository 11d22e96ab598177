"""estimate: what a slice of a suite will cost, before anything starts. Arithmetic over shapes, not a measurement.

Time is checked against two published figures, OmniQuant's own (arXiv 2308.13137, Table A12; weights only, 128 x 2048
tokens, 20 epochs, autocast, one A100-80G): 1.1 h for LLaMA-7B and 2.2 h for 13B. tests/test_estimate.py holds the
formulas to within a factor of 2 of them. For TesseraQ there is no published time to check against, nor for AWQ's search
by second moments. The formulas are in bench/costs.py (seconds) and bench/footprint.py (bytes), what a cell asks for in
bench/workload.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.cell import Cell
from bench.config import Params, Protocol
from bench.costs import Rates, Shapes, reconstruct_seconds, score_seconds
from bench.footprint import (
    GIB,
    PACKED_TOO,
    cell_disk_bytes,
    checkpoint_bytes,
    host_bytes,
    reconstruct_device_bytes,
    score_device_bytes,
)
from bench.results import labels
from bench.sources import HubCorpus, HubModel
from bench.table import Table
from bench.workload import shapes_of, work_of

FEW = 12  # cells that get a row each
HOUR = 3600.0
# (documents, choices) of the splits that are scored; another task is taken for one of 2,000 with 4
TASK_SIZES = {
    "winogrande": (1267, 2),
    "hellaswag": (10042, 4),
    "arc_challenge": (1172, 4),
    "arc_easy": (2376, 4),
    "piqa": (1838, 2),
    "boolq": (3270, 2),
}
CHOICE_TOKENS = 80  # of a document with one of its choices
TEXT_TOKENS = {True: 288_000, False: 341_000}  # WikiText-2's test split, for a vocabulary above 50,000 and for others
# Bytes of the larger files on the hub; another is taken for 10 MB
FILE_BYTES = {
    "en/c4-train.00000-of-01024.json.gz": 320e6,
    "en/c4-validation.00000-of-00008.json.gz": 40e6,
    "val.jsonl.zst": 470e6,
}


@dataclass(frozen=True)
class Cost:
    """What one cell costs.

    Attributes:
        reconstruct: seconds of that stage.
        score: seconds of that stage.
        host: bytes, peak of host memory.
        reconstruct_device: bytes, peak of GPU memory while reconstructing.
        score_device: the same while scoring, all weights on the card.
        disk: bytes that stay.
    """

    reconstruct: float
    score: float
    host: float
    reconstruct_device: float
    score_device: float
    disk: float


def estimate(params: Params, keys: Iterable[str], rates: Rates = Rates()) -> str:  # noqa: B008 (it is frozen)
    """Return a page in Markdown: hours, memory and disk of the cells `keys`, on one GPU with the given rates.

    Raises:
        UserError: a model's configuration cannot be had, from its folder or from the hub.
    """
    keys = list(keys)
    shapes = {name: shapes_of(params, name) for name in dict.fromkeys(params.cells[key].model for key in keys)}
    costs = {key: cost(params, params.cells[key], shapes[params.cells[key].model], rates) for key in keys}
    fetched = download_bytes(params, keys, shapes)
    return "\n\n".join(
        [
            f"Suite `{params.suite}`, {len(keys)} of {len(params.cells)} cells, one after another on one GPU.",
            "This is arithmetic, not a measurement: it can be off by a factor of 2, and by more on a card that is not"
            " like the one assumed. Checked against OmniQuant's published times only (LLaMA-7B 1.1 h, 13B 2.2 h; 128 x"
            " 2048 tokens, 20 epochs, half precision, one A100-80G); for TesseraQ there is no published time to check"
            " against.",
            _assumed(rates),
            _cells_table(params, costs),
            _disk_table(fetched, sum(c.disk for c in costs.values())),
        ]
    )


def cost(params: Params, cell: Cell, shapes: Shapes, rates: Rates) -> Cost:
    """Return what one cell of a model with these shapes costs."""
    work, protocol = work_of(cell, params.calibrations[cell.calibration]), params.protocol
    seq_len, half = protocol.perplexity.seq_len, protocol.dtype != "float32"
    windows, tasks = window_tokens(protocol, shapes.vocabulary), task_tokens(protocol)
    return Cost(
        reconstruct=reconstruct_seconds(shapes, work, rates),
        score=score_seconds(shapes, windows, seq_len, tasks, n_passes(protocol, windows), half, rates),
        host=host_bytes(shapes, work),
        reconstruct_device=reconstruct_device_bytes(shapes, work),
        score_device=score_device_bytes(shapes, seq_len, protocol.batch_size, 2 if half else 4),
        disk=cell_disk_bytes(shapes, work),
    )


def window_tokens(protocol: Protocol, vocabulary: int) -> int:
    """Tokens of all perplexity windows; a text that is scored whole is taken to be as long as WikiText-2's."""
    lengths = (text.n_windows for text in protocol.perplexity.texts.values())
    return sum(n * protocol.perplexity.seq_len if n else TEXT_TOKENS[vocabulary > 50_000] for n in lengths)


def task_tokens(protocol: Protocol) -> int:
    """Tokens of all documents with each of their choices: documents x choices x about 80."""
    sizes = (TASK_SIZES.get(task, (2000, 4)) for task in protocol.tasks)
    return sum(min(n, protocol.limit or n) * choices * CHOICE_TOKENS for n, choices in sizes)


def n_passes(protocol: Protocol, windows: int) -> float:
    """Forward passes: one a window, and one a batch of documents with one of their choices."""
    return windows / protocol.perplexity.seq_len + task_tokens(protocol) / CHOICE_TOKENS / protocol.batch_size


def download_bytes(params: Params, keys: list[str], shapes: dict[str, Shapes]) -> dict[str, float]:
    """Bytes on disk of what the cells are made from and scored on: hub models, and the corpora with their downloads."""
    found = {
        f"model {name}": checkpoint_bytes(shape)
        for name, shape in shapes.items()
        if isinstance(params.models.get(name), HubModel)
    }
    used = {params.calibrations[params.cells[key].calibration].corpus for key in keys} | {params.protocol.corpus}
    for name in sorted(used):
        corpus = params.corpora[name]
        files = [*corpus.texts.values(), *corpus.tasks.values()] if isinstance(corpus, HubCorpus) else []
        sizes = [FILE_BYTES.get(dataset.file, 10e6) for dataset in files] or [10e6]
        found[f"corpus {name}"] = PACKED_TOO * sum(sizes)
    return found


def _cells_table(params: Params, costs: dict[str, Cost]) -> str:
    """A row per cell, or per model and method where the cells are many; hours and disk add up, memory is the peak."""
    called, few = labels(params), len(costs) <= FEW
    groups: dict[tuple[str, ...], list[Cost]] = {}
    for key, one in costs.items():
        cell = params.cells[key]
        name = (cell.model, called[key], str(cell.scheme or "") if few else "")
        groups.setdefault(name, []).append(one)
    rows = [[*name, *_numbers(group)] for name, group in groups.items()]
    rows.append(["total", "", "", *_numbers(list(costs.values()))])
    hours, memory = ["reconstruct h", "score h"], ["host GiB", "GPU GiB", "GPU GiB to score"]
    headers = ["model", "method", "scheme", "cells", *hours, *memory, "disk GiB"]
    keep = [i for i, header in enumerate(headers) if few or header != "scheme"]
    rows, headers = [[row[i] for i in keep] for row in rows], [headers[i] for i in keep]
    return Table(rows, headers, left=headers.index("cells")).markdown()


def _numbers(costs: list[Cost]) -> list[str]:
    hours = [sum(seconds) / HOUR for seconds in zip(*((c.reconstruct, c.score) for c in costs), strict=True)]
    peaks = [max(sizes) for sizes in zip(*((c.host, c.reconstruct_device, c.score_device) for c in costs), strict=True)]
    sizes = [*peaks, sum(c.disk for c in costs)]
    return [str(len(costs)), *(f"{value:.2f}" for value in hours), *(f"{value / GIB:.1f}" for value in sizes)]


def _disk_table(fetched: dict[str, float], made: float) -> str:
    rows = [[name, f"{size / GIB:.1f}"] for name, size in fetched.items()]
    rows += [["artefacts and scores, as above", f"{made / GIB:.1f}"]]
    rows += [["total", f"{(sum(fetched.values()) + made) / GIB:.1f}"]]
    return Table(rows, ["on disk", "GiB"], left=1).markdown()


def _assumed(rates: Rates) -> str:
    return (
        f"Assumed: {rates.half / 1e12:g} and {rates.single / 1e12:g} TFLOP/s in half and single precision,"
        f" {rates.memory / 1e9:g} GB/s of GPU memory, {rates.transfer / 1e9:g} GB/s to the GPU,"
        f" {rates.disk / 1e9:g} GB/s from disk; a GPU of {rates.capacity / GIB:.0f} GiB, where blocks that do not fit"
        f" while scoring are read again at every pass, at {rates.reread / 1e9:g} GB/s. Memory is the peak of a cell, on"
        " the host that of its reconstruction. Fetching and calibrating are not counted."
    )
