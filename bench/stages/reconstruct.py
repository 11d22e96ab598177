"""reconstruct: a cell's packed artefact, what was learned to get there, and the losses on the way."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

import swq
from bench import runtime
from bench.config import Params
from bench.models import ModelRecord
from bench.paths import RESUME, artefact_folder, calibration_folder
from bench.records import recording
from swq.checkpoint import Artefact, read_tensors, write_tensors
from swq.files import atomic_path, sha256_file
from swq.models.adapter import DecoderModel
from swq.reconstruct.recipe import Recipe
from swq.reconstruct.resume import BlockRecord, ResumeFolder
from swq.reconstruct.runner import reconstruct as walk


def reconstruct(params: Params, key: str) -> str:
    """Make artefacts/KEY: quantized.safetensors, learned.safetensors, losses.csv, and record.json beside them."""
    cell = params.cells[key]
    folder = artefact_folder(key)
    fabric = runtime.start(params.runtime, cell.precision)
    record = ModelRecord.load(cell.model)
    tokens_file = calibration_folder(cell.calibration) / "tokens.safetensors"
    calibration = read_tensors(tokens_file)[0]["tokens"] if cell.method.needs_calibration else None
    facts = {
        "recipe": cell.describe(),
        "made_with": params.made_with(key),
        "preset": cell.preset,
        "model_sha256": record.sha256,
        "calibration_sha256": sha256_file(tokens_file),
        "seed": cell.seed,
    }
    resume = ResumeFolder(RESUME, _fingerprint(cell.recipe, cell.precision, str(fabric.device), facts))
    with recording(folder / "record.json", cell=key, device=str(fabric.device), **facts) as stage:
        model = DecoderModel.open(record.folder)
        blocks = list(walk(fabric, model, cell.recipe, calibration, resume))
        artefact = _artefact(cell.method_name, cell.recipe, record.sha256, blocks)
        artefact.save(folder / "quantized.safetensors")
        write_tensors(folder / "learned.safetensors", _merged(b.learned for b in blocks), {"cell": key})
        epochs = [] if calibration is None else cell.method.epoch_lengths(len(calibration))
        _write_losses(folder / "losses.csv", blocks, epochs)
        stage["bits_per_weight"] = artefact.bits_per_weight()
    resume.remove()
    return f"cell {key}: {artefact.bits_per_weight() or 32:.3f} bits per weight in {folder}"


def _fingerprint(recipe: Recipe, precision: str, device: str, facts: Mapping[str, object]) -> str:
    """Name everything that decides the result, the code included."""
    code = [(p.name, sha256_file(p)) for p in sorted(Path(swq.__file__).parent.rglob("*.py"))]
    state = [repr(recipe), precision, device, torch.get_num_threads(), torch.__version__, dict(facts), code]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]


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
    """Write the means over every epoch of every block, a row each: loss, weighted terms, shares of the gradient."""
    given = blocks[0].trace[0] if blocks and blocks[0].trace else ["loss"]
    # One order, also for blocks that were read back: the loss, its terms, their shares.
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
