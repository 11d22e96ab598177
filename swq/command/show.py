"""`swq export` and `swq inspect`: what a folder of `swq quantize` holds, for other software and for people."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import torch
from tabulate import tabulate

from swq.command.calibration import Text
from swq.command.device import start_fabric
from swq.command.errors import check_source, output_errors, weight_errors
from swq.command.folder import QUANTIZED, Stored, check_free, read

KIB = 1024


def export(folder: Path, out: Path, model: Path | None, dtype: str | None, packed: bool) -> str:
    """Write a transformers folder, and return a closing line.

    Raises:
        UserError: the output folder is taken, or the model is not the one that was quantized.
    """
    quantized = read(folder, model).quantized
    check_free(out)
    check_source(quantized, folder)
    quantized.export(out, dtype=None if dtype is None else getattr(torch, dtype), packed=packed)
    needs = " where compressed-tensors is installed" if packed else ""
    return f"{out}: opens with transformers{needs} ({size(out):,.0f} KiB)"


def inspect(folder: Path, model: Path | None, device: str, text: Text | None) -> str:
    """Return a page: what was done, a row for each quantized linear, and a row for each block.

    Args:
        folder: that `swq quantize` wrote.
        model: the folder of the model, if it was moved.
        device: where blocks run.
        text: what errors of outputs are measured on; None measures none.

    Raises:
        UserError: a folder or the text is not what it should be.
    """
    stored = read(folder, model)
    quantized, artefact = stored.quantized, stored.quantized.artefact
    recipe = quantized.recipe
    errors, note = weight_errors(quantized, folder)
    rows = [
        (path, f"{shape[0]} x {shape[1]}", f"{nbytes / KIB:,.1f}", 8 * nbytes / (shape[0] * shape[1]), errors.get(path))
        for path, shape in artefact.shapes.items()
        for nbytes in [artefact.nbytes(path)]
    ]
    n_weights = sum(out * inputs for out, inputs in artefact.shapes.values())
    loss = recipe.loss and ", ".join(f"{weight:g} {term}" for term, weight in recipe.loss.weights.items())
    facts = [
        ("model", quantized.source),
        ("method", recipe.label),
        ("scheme", str(recipe.scheme)),
        ("loss", loss or "none: nothing was trained"),
        ("seed", recipe.seed),
        ("calibration", quantized.calibration or "none"),
        ("bits per weight", f"{quantized.bits_per_weight:.3f}, with {artefact.besides}"),
        ("quantized", f"{n_weights:,} weights in {len(artefact.shapes)} linears"),
        ("size", f"{(folder / QUANTIZED).stat().st_size / KIB:,.0f} KiB; in float16 {2 * n_weights / KIB:,.0f} KiB"),
    ]
    head = ("linear", "shape", "KiB", "bits", "error, %")
    align = ("left", "left", "right", "right", "right")
    table = tabulate(rows, head, floatfmt=("", "", "", ".3f", ".2f"), missingval="n/a", colalign=align)
    parts = [tabulate(facts, tablefmt="plain"), table, note, _blocks(stored, folder, device, text)]
    return "\n\n".join(part for part in parts if part)


def size(folder: Path) -> float:
    """Return the size of a folder's files in KiB."""
    return sum(file.stat().st_size for file in folder.iterdir()) / KIB


def _blocks(stored: Stored, folder: Path, device: str, text: Text | None) -> str:
    """Return a table of blocks: losses, if they were trained, and errors of outputs, if text is given."""
    columns: dict[str, list[float]] = {}
    if stored.losses:
        columns["loss, first epoch"], columns["loss, last epoch"] = map(list, zip(*stored.losses, strict=True))
    if text:
        columns["output error, %"] = list(output_errors(stored.quantized, folder, start_fabric(device), text))
    if not columns:
        return ""
    rows = zip(count(), *columns.values(), strict=False)
    return tabulate(rows, ("block", *columns), floatfmt=".4g")
