"""reconstruct: a cell's packed artefact, its trained tensors, and its training losses."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from bench import runtime
from bench.config.params import Params
from bench.inputs.models import ModelRecord
from bench.inputs.tokens import calibration_tokens
from bench.store.checksums import seal
from bench.store.code import code_of
from bench.store.paths import LEARNED, LOSSES, QUANTIZED, RECORD, artefact_folder, calibration_file
from bench.store.progress import note_progress
from bench.store.record import timed_record
from bench.store.resume import State
from bench.store.stage_output import say
from swq.checkpoint import Artefact
from swq.files import atomic_path, sha256_file
from swq.kernels import choose
from swq.models.adapter import DecoderModel
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import SLOWER
from swq.reconstruct.runner import reconstruct as walk
from swq.tensor_file import write_tensors


def reconstruct(params: Params, key: str) -> str:
    """Make artefacts/KEY: quantized.safetensors, learned.safetensors, losses.csv, and record.json beside them."""
    cell = params.cells[key]
    folder = artefact_folder(key)
    fabric = runtime.start_fabric(params.runtime, cell.precision)
    kernels = choose.use(params.runtime.kernels, fabric.device)
    model_record = ModelRecord.load(cell.model)
    model_record.check_weights(cell.model)
    tokens = calibration_tokens(cell.calibration, params.calibrations[cell.calibration])
    calibration = tokens if cell.recipe.needs_calibration else None
    tokens_sha256 = sha256_file(calibration_file(cell.calibration))
    inputs = {"model_sha256": model_record.sha256, "calibration_sha256": tokens_sha256}
    state = State(
        f"reconstruct@{key}",
        {
            "settings": params.made_with(key),
            **inputs,
            "machine": runtime.machine(fabric.device) | {"kernels": kernels},
            "code": code_of("reconstruct", {"item.method.name": cell.method_name}),
        },
    )
    facts: dict[str, Any] = {
        "identity": params.identity(key),
        "preset": cell.preset,
        "seed": cell.seed,
        "device": str(fabric.device),
        "kernels": kernels,
    }
    facts |= {"made_with": params.made_with(key), **inputs}
    with timed_record(folder / RECORD, state, cell=key, **facts) as record:
        model = DecoderModel.open(model_record.folder)
        blocks = _blocks(walk(fabric, model, cell.recipe, calibration, state.pieces), state, len(model.blocks))
        artefact = _artefact(cell.method_name, cell.recipe, model_record.sha256, blocks)
        artefact.save(folder / QUANTIZED)
        write_tensors(folder / LEARNED, _merged(b.learned for b in blocks), {"cell": key})
        epochs = [] if calibration is None else cell.method.epoch_lengths(len(calibration))
        _write_losses(folder / LOSSES, blocks, epochs)
        record["bits_per_weight"] = artefact.bits_per_weight()
        record["retried_blocks"] = {str(index): block.retried for index, block in enumerate(blocks) if block.retried}
    seal(folder, (QUANTIZED, LEARNED, LOSSES, RECORD))
    state.made(folder / RECORD)
    return f"cell {key}: {artefact.bits_per_weight() or 32:.3f} bits per weight in {folder}"


def _blocks(walk: Iterator[BlockRecord], state: State, n_blocks: int) -> list[BlockRecord]:
    """Return the records of all blocks, and say meanwhile how far it is, and where it goes on."""
    finished = len(state.pieces.names())
    if finished:
        where = f"continues from block {finished + 1} of" if finished < n_blocks else "had finished all"
        say(f"{state.stage} {where} {n_blocks} blocks")
    blocks: list[BlockRecord] = []
    began = time.perf_counter()
    for block in walk:
        if block.resumed:  # it counts as long as it took when it was made, and not as long as reading it back
            state.seconds += block.seconds - (time.perf_counter() - began)
        elif block.retried:
            say(f"{state.stage}: {block.retried}; the block was trained again at {SLOWER} times the learning rate")
        blocks.append(block)
        state.peak()
        note_progress(f"block {len(blocks)} of {n_blocks}", len(blocks), n_blocks)
        began = time.perf_counter()
    return blocks


def _artefact(method: str, recipe: Recipe, model_sha256: str, blocks: list[BlockRecord]) -> Artefact:
    shapes: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        shapes |= block.shapes
    packed, changed = _merged(b.packed for b in blocks), _merged(b.changed for b in blocks)
    return Artefact(method, recipe.scheme, model_sha256, shapes, packed, changed)


def _merged(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    merged: dict[str, Tensor] = {}
    for part in parts:
        merged |= part
    return merged


def _write_losses(path: Path, blocks: list[BlockRecord], epoch_lengths: list[int]) -> None:
    """Write a row of means for every epoch of every block: loss, weighted terms, shares of the gradient.

    A share's field is empty in the epochs in which it was not measured: all but the last.
    """
    given = {name for step in blocks[0].trace for name in step} if blocks else set()
    # A fixed order, also for blocks that were read back: the loss, its terms, their shares.
    names = sorted(given | {"loss"}, key=lambda name: (name != "loss", name.endswith("_grad_share"), name))
    with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["block", "epoch", *names])
        for index, block in enumerate(blocks):
            steps = iter(block.trace)
            for epoch, length in enumerate(epoch_lengths):
                rows = list(islice(steps, length))
                measured = ([row[name] for row in rows if name in row] for name in names)
                writer.writerow([index, epoch, *(f"{fmean(values):.9g}" if values else "" for values in measured)])
