"""`swq export` and `swq inspect`: what a folder of `swq quantize` holds, for other software and for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from tabulate import tabulate

from swq.api import Quantized, folder_sha256
from swq.command.folder import QUANTIZED, Stored, check_free, read
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from swq.models.folder import check_model_folder

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


def inspect(folder: Path, model: Path | None) -> str:
    """Return a page: what was done, a row for each quantized linear, and a row for each trained block.

    The error of a linear is ||codes' weights - model's weights|| / ||model's weights||. It is shown where the model is
    at hand and its method leaves channels as they are.
    """
    stored = read(folder, model)
    quantized, artefact = stored.quantized, stored.quantized.artefact
    recipe = quantized.recipe
    errors, note = _errors(quantized, folder)
    rows = [
        (path, f"{shape[0]} x {shape[1]}", f"{nbytes / KIB:,.1f}", 8 * nbytes / (shape[0] * shape[1]), errors.get(path))
        for path, shape in artefact.shapes.items()
        for nbytes in [_nbytes(quantized, path)]
    ]
    n_weights = sum(out * inputs for out, inputs in artefact.shapes.values())
    loss = recipe.loss and ", ".join(f"{weight:g} {term}" for term, weight in recipe.loss.weights.items())
    facts = [
        ("model", quantized.source),
        ("method", recipe.method.label),
        ("scheme", str(recipe.scheme)),
        ("loss", loss or "none: nothing was trained"),
        ("seed", recipe.seed),
        ("calibration", quantized.calibration or "none"),
        ("bits per weight", f"{quantized.bits_per_weight:.3f}, with scales and zero points"),
        ("quantized", f"{n_weights:,} weights in {len(artefact.shapes)} linears"),
        ("size", f"{(folder / QUANTIZED).stat().st_size / KIB:,.0f} KiB; in float16 {2 * n_weights / KIB:,.0f} KiB"),
    ]
    head = ("linear", "shape", "KiB", "bits", "error, %")
    align = ("left", "left", "right", "right", "right")
    table = tabulate(rows, head, floatfmt=("", "", "", ".3f", ".2f"), missingval="n/a", colalign=align)
    parts = [tabulate(facts, tablefmt="plain"), table, note, _losses(stored)]
    return "\n\n".join(part for part in parts if part)


def check_source(quantized: Quantized, folder: Path) -> None:
    """Raise unless the model's folder is there and holds what was quantized.

    Raises:
        UserError: it is not so.
    """
    assert quantized.source is not None
    if not quantized.source.is_dir():
        raise UserError(f"{folder} was made from {quantized.source}, which is not there: say by --model where it is")
    check_model_folder(quantized.source)
    if folder_sha256(quantized.source) != quantized.artefact.model_sha256:
        raise UserError(f"{quantized.source} is not, or no longer, the model that {folder} was made from")


def size(folder: Path) -> float:
    """Return the size of a folder's files in KiB."""
    return sum(file.stat().st_size for file in folder.iterdir()) / KIB


def _nbytes(quantized: Quantized, path: str) -> int:
    tensors = quantized.artefact.tensors
    return sum(tensors[f"{path}.{part}"].nbytes for part in ("codes", "scale", "zero_point"))


def _errors(quantized: Quantized, folder: Path) -> tuple[dict[str, float], str]:
    """Return each linear's error in %, or none and the reason."""
    if quantized.recipe.method.needs_pairs:
        return {}, (
            f"No errors: {quantized.recipe.method.label} moves scales between layers,"
            " so codes do not stand for the model's own weights."
        )
    try:
        check_source(quantized, folder)
    except UserError as error:
        return {}, f"No errors: {error}."
    return dict(_by_linear(quantized)), ""


@torch.no_grad()
def _by_linear(quantized: Quantized) -> Iterator[tuple[str, float]]:
    assert quantized.source is not None
    model = DecoderModel.open(quantized.source)
    assert model.weights is not None
    for path in quantized.artefact.shapes:
        own = model.weights.tensor(f"{path}.weight", torch.get_default_device()).float()
        moved = quantized.artefact.weight(path).dequantize() - own
        yield path, 100 * float(moved.norm() / own.norm())


def _losses(stored: Stored) -> str:
    if not stored.losses:
        return ""
    rows = [(index, first, last) for index, (first, last) in enumerate(stored.losses)]
    return tabulate(rows, ("block", "loss, first epoch", "loss, last epoch"), floatfmt=".4g")
