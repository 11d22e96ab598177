"""A cell's quantized model as a folder that transformers opens without this project."""

from __future__ import annotations

from pathlib import Path

from bench.config.params import Params
from bench.config.sources import HubModel
from bench.inputs.models import ModelRecord
from bench.store.paths import QUANTIZED, artefact_folder
from swq.errors import UserError, one_of


def export_cell(params: Params, key: str, out: Path, packed: bool, dtype: str | None) -> str:
    """Write the folder, and return a closing line.

    Args:
        params: the suite.
        key: of the cell.
        out: must not be there yet, or be empty.
        packed: store codes in place of the weights that they stand for.
        dtype: of the files, as torch names it; None for the model's own.

    Raises:
        UserError: there is no such cell, its artefact was not made here or is of another model, or the folder is taken.
    """
    if key not in params.cells:
        raise UserError(one_of("cell", key, params.cells))
    cell = params.cells[key]
    if cell.scheme is None:
        raise UserError(f"cell {key} is full precision: there is nothing to export")
    if not (artefact_folder(key) / QUANTIZED).is_file():
        raise UserError(f"cell {key} was not quantized here: `python -m bench run --cell {key}` does it")
    import torch

    from swq.api import Quantized
    from swq.checkpoint import Artefact

    artefact, model = Artefact.load(artefact_folder(key) / QUANTIZED), ModelRecord.load(cell.model)
    artefact.check_made_from(model.sha256)
    calibration = params.calibrations[cell.calibration]
    said = f"{calibration.n_samples} samples of {calibration.seq_len} tokens of {calibration.corpus}"
    source = params.models.get(cell.model)
    quantized = Quantized(
        artefact,
        [],
        cell.recipe,
        said if cell.recipe.needs_calibration else "",
        model.folder,
        precision=cell.precision,
    )
    name = source.repo if isinstance(source, HubModel) else cell.model
    quantized.export(out, dtype=None if dtype is None else getattr(torch, dtype), packed=packed, name=name)
    return f"{out}: opens with transformers{' where compressed-tensors is installed' if packed else ''}"
