"""reconstruct: a cell's packed artefact, its trained tensors, and its training losses."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

import swq
from bench import runtime
from bench.config.params import Params
from bench.inputs.models import ModelRecord
from bench.store.paths import LEARNED, LOSSES, QUANTIZED, RECORD, RESUME, artefact_folder, calibration_file
from bench.store.progress import note_progress
from bench.store.record import timed_record
from swq.checkpoint import Artefact, read_tensors, write_tensors
from swq.files import atomic_path, sha256_file
from swq.identity import fingerprint
from swq.models.adapter import DecoderModel
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord, ResumeFolder
from swq.reconstruct.runner import reconstruct as walk


def reconstruct(params: Params, key: str) -> str:
    """Make artefacts/KEY: quantized.safetensors, learned.safetensors, losses.csv, and record.json beside them."""
    cell = params.cells[key]
    folder = artefact_folder(key)
    fabric = runtime.start(params.runtime, cell.precision)
    model_record = ModelRecord.load(cell.model)
    tokens_file = calibration_file(cell.calibration)
    calibration = read_tensors(tokens_file)[0]["tokens"] if cell.method.needs_calibration else None
    decides = {
        "made_with": params.made_with(key),
        "model_sha256": model_record.sha256,
        "calibration_sha256": sha256_file(tokens_file),
    }
    facts = {"identity": params.identity(key), "preset": cell.preset, "seed": cell.seed, "device": str(fabric.device)}
    resume = ResumeFolder(RESUME, _resume_name(str(fabric.device), decides))
    with timed_record(folder / RECORD, cell=key, **facts, **decides) as record:
        model = DecoderModel.open(model_record.folder)
        blocks = []
        for block in walk(fabric, model, cell.recipe, calibration, resume):
            blocks.append(block)
            note_progress(f"block {len(blocks)} of {len(model.blocks)}", len(blocks), len(model.blocks))
        artefact = _artefact(cell.method_name, cell.recipe, model_record.sha256, blocks)
        artefact.save(folder / QUANTIZED)
        write_tensors(folder / LEARNED, _merged(b.learned for b in blocks), {"cell": key})
        epochs = [] if calibration is None else cell.method.epoch_lengths(len(calibration))
        _write_losses(folder / LOSSES, blocks, epochs)
        record["bits_per_weight"] = artefact.bits_per_weight()
    resume.remove()
    return f"cell {key}: {artefact.bits_per_weight() or 32:.3f} bits per weight in {folder}"


def _resume_name(device: str, decides: Mapping[str, object]) -> str:
    """Name everything that decides the result, the code and the number of threads included."""
    code = [(path.name, sha256_file(path)) for path in sorted(Path(swq.__file__).parent.rglob("*.py"))]
    return fingerprint([device, torch.get_num_threads(), torch.__version__, decides, code])[:32]


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
    """Write a row of means for every epoch of every block: loss, weighted terms, shares of the gradient."""
    given = blocks[0].trace[0] if blocks and blocks[0].trace else ["loss"]
    # A fixed order, also for blocks that were read back: the loss, its terms, their shares.
    names = sorted(given, key=lambda name: (name != "loss", name.endswith("_grad_share"), name))
    with atomic_path(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["block", "epoch", *names])
        for index, block in enumerate(blocks):
            steps = iter(block.trace)
            for epoch, length in enumerate(epoch_lengths):
                rows = list(islice(steps, length))
                means = (fmean(row[name] for row in rows if name in row) for name in names)
                writer.writerow([index, epoch, *(f"{mean:.9g}" for mean in means)])
