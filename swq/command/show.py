"""`swq export` and `swq inspect`: what a folder of `swq quantize` holds, for other software and for people."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from tabulate import tabulate

from swq.command.calibration import Text, read_windows
from swq.command.device import start_fabric
from swq.command.errors import check_source, output_errors, weight_errors
from swq.command.folder import QUANTIZED, Stored, check_free, read
from swq.export import loss_row

KIB = 1024


@dataclass(frozen=True)
class Export:
    """What a command line says of an export.

    Attributes:
        out: the folder to write.
        model: the folder of the model that was quantized, if it was moved.
        dtype: of the files; None for the model's own.
        packed: store packed codes.
        name: of the base model, for the card; None for its own.
        text: what perplexity is measured on; None measures none.
        device: where it is measured.
    """

    out: Path
    model: Path | None = None
    dtype: str | None = None
    packed: bool = False
    name: str | None = None
    text: Text | None = None
    device: str = "auto"


def export(folder: Path, asked: Export) -> str:
    """Write a transformers folder, and return a closing line.

    Raises:
        UserError: the output folder is taken, the model is not the one that was quantized, or a text cannot be read.
    """
    quantized = read(folder, asked.model).quantized
    check_free(asked.out)
    source = check_source(quantized, folder)
    perplexity = quantized.export(
        asked.out,
        dtype=None if asked.dtype is None else getattr(torch, asked.dtype),
        packed=asked.packed,
        name=asked.name,
        windows=read_windows(asked.text, source) if asked.text else None,
        text=asked.text.path.name if asked.text else "",
        fabric=start_fabric(asked.device) if asked.text else None,
    )
    needs = " where compressed-tensors is installed" if asked.packed else ""
    found = "" if perplexity is None else f", perplexity {perplexity:.3f}"
    return f"{asked.out}: opens with transformers{needs} ({size(asked.out):,.0f} KiB){found}"


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
        for path, shape in sorted(artefact.shapes.items(), key=lambda item: by_number(item[0]))
        for nbytes in [artefact.nbytes(path)]
    ]
    n_weights = sum(out * inputs for out, inputs in artefact.shapes.values())
    facts = [
        ("model", quantized.source),
        ("method", recipe.label),
        ("scheme", str(recipe.scheme)),
        ("loss", loss_row(recipe)),
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


def by_number(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts linears as the model has them: layer 9 before layer 10."""
    return [(len(part) if part.isdigit() else 0, part) for part in path.split(".")]


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
