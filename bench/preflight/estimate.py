"""estimate: what a slice of a suite will cost, before anything starts. Arithmetic over shapes, not a measurement.

Time is checked against two published figures, OmniQuant's own (arXiv 2308.13137, Table A12; weights only, 128 x 2048
tokens, 20 epochs, autocast, one A100-80G): 1.1 h for LLaMA-7B and 2.2 h for 13B. A test checks that the formulas
are within a factor of 2 of them. There is no published time for TesseraQ, nor for AWQ's search by second moments. The
formulas are in bench/preflight/seconds.py and bench/preflight/bytes.py, the work of a cell is counted in
bench/preflight/workload.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.config.labels import labels
from bench.config.params import Params
from bench.config.sources import HubCorpus, HubModel
from bench.preflight.at_hand import shapes_of
from bench.preflight.bytes import GIB, PACKED_TOO, checkpoint_bytes
from bench.preflight.cost import Cost, cost
from bench.preflight.seconds import Rates
from bench.preflight.shapes import Shapes
from bench.render.table import Table

FEW = 12  # cells that get a row each
HOUR = 3600.0
# Bytes of the larger files on the hub; any other is assumed to be 10 MB
FILE_BYTES = {
    "en/c4-train.00000-of-01024.json.gz": 320e6,
    "en/c4-validation.00000-of-00008.json.gz": 40e6,
    "val.jsonl.zst": 470e6,
}


def estimate(params: Params, keys: Iterable[str], rates: Rates = Rates()) -> str:  # noqa: B008 (it is frozen)
    """Return a page in Markdown: hours, memory and disk of the cells `keys`, on one GPU with the given rates.

    Raises:
        UserError: a model's configuration is neither in its folder nor on the hub.
    """
    keys = list(keys)
    shapes = {name: shapes_of(params, name) for name in dict.fromkeys(params.cells[key].model for key in keys)}
    costs = {key: cost(params, params.cells[key], shapes[params.cells[key].model], rates) for key in keys}
    fetched = download_bytes(params, keys, shapes)
    return "\n\n".join(
        [
            f"Suite `{params.suite}`, {len(keys)} of {len(params.cells)} cells, one after another on one GPU.",
            "This is arithmetic, not a measurement: it can be off by a factor of 2, and by more on a GPU that differs"
            " from the one assumed. It was checked only against OmniQuant's published times (LLaMA-7B 1.1 h, 13B 2.2 h;"
            " 128 x 2048 tokens, 20 epochs, half precision, one A100-80G); there is no published time for TesseraQ.",
            _assumed(rates),
            _cells_table(params, costs),
            _disk_table(fetched, sum(c.disk for c in costs.values()), max(c.resume for c in costs.values())),
        ]
    )


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
    """A row per cell, or per model and method if there are many cells. Hours and disk are sums, memory is the peak."""
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


def _disk_table(fetched: dict[str, float], made: float, resume: float) -> str:
    rows = [[name, f"{size / GIB:.1f}"] for name, size in fetched.items()]
    rows += [["artefacts and scores, as above", f"{made / GIB:.1f}"]]
    rows += [["finished blocks of the cell that is being made (the largest)", f"{resume / GIB:.1f}"]]
    rows += [["total", f"{(sum(fetched.values()) + made + resume) / GIB:.1f}"]]
    return Table(rows, ["on disk", "GiB"], left=1).markdown()


def _assumed(rates: Rates) -> str:
    return (
        f"Assumed: {rates.half / 1e12:g} and {rates.single / 1e12:g} TFLOP/s in half and single precision,"
        f" {rates.memory / 1e9:g} GB/s of GPU memory, {rates.transfer / 1e9:g} GB/s to the GPU,"
        f" {rates.disk / 1e9:g} GB/s from disk, and a GPU of {rates.capacity / GIB:.0f} GiB. While scoring, blocks that"
        f" do not fit are read again in every forward pass, at {rates.reread / 1e9:g} GB/s. Memory is the peak of a"
        " cell; host memory is that of its reconstruction. Fetching and calibrating are not counted."
    )
