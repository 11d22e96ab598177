"""How far a quantized model is from the model: each linear by its weights, each block by its output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.fabric import Fabric

from swq.api import Quantized, folder_sha256
from swq.checkpoint import added_biases
from swq.command.calibration import Text, read_calibration
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from swq.models.folder import check_model_folder
from swq.reconstruct.data import ActivationPaths


def check_source(quantized: Quantized, folder: Path) -> Path:
    """Return the model's folder, if it is there and holds what was quantized.

    Raises:
        UserError: it is not so.
    """
    source = quantized.source
    assert source is not None
    if not source.is_dir():
        raise UserError(f"{folder} was made from {source}, which is not there: say by --model where it is")
    check_model_folder(source)
    if folder_sha256(source) != quantized.artefact.model_sha256:
        raise UserError(f"{source} is not, or no longer, the model that {folder} was made from")
    return source


def weight_errors(quantized: Quantized, folder: Path) -> tuple[dict[str, float], str]:
    """Return ||codes' weights - model's weights|| / ||model's weights|| of each linear in %, or none and the reason."""
    if quantized.recipe.method.needs_pairs:
        label = quantized.recipe.method.label
        return {}, f"No errors: {label} moves scales between layers, so codes do not stand for the model's own weights."
    try:
        return dict(_by_linear(quantized, check_source(quantized, folder))), ""
    except UserError as error:
        return {}, f"No errors: {error}."


@torch.no_grad()
def _by_linear(quantized: Quantized, source: Path) -> Iterator[tuple[str, float]]:
    weights = DecoderModel.open(source).weights
    assert weights is not None
    for path in quantized.artefact.shapes:
        own = weights.tensor(f"{path}.weight", torch.get_default_device()).float()
        moved = quantized.artefact.weight(path).dequantize() - own
        yield path, 100 * float(moved.norm() / own.norm())


@torch.no_grad()
def output_errors(quantized: Quantized, folder: Path, fabric: Fabric, text: Text) -> Iterator[float]:
    """Yield ||quantized model's output - model's output|| / ||model's output|| behind each block in %, on text.

    Both models read the text from its beginning, so an error holds what the blocks before have added to it.

    Raises:
        UserError: the model is not at hand, or the text cannot be read.
    """
    source = check_source(quantized, folder)
    model = DecoderModel.open(source)
    paths = ActivationPaths(fabric, model, read_calibration(text, source, quantized.recipe.seed))
    artefact = quantized.artefact
    for index in range(len(model.blocks)):
        inside = f"{model.block_name(index)}."
        linears = {f"{path}.weight": path for path in artefact.shapes if path.startswith(inside)}
        tensors = {name: artefact.weight(path).dequantize() for name, path in linears.items()}
        others = dict(artefact.changed) | added_biases(artefact.tensors)
        tensors |= {name: tensor for name, tensor in others.items() if name.startswith(inside)}
        with model.filled(index, fabric.device):
            fp_output = paths.block_data(index, with_aug=False).fp_output
            paths.advance(index, fp_output, {name.removeprefix(inside): value for name, value in tensors.items()})
        yield 100 * float((paths.quant_hidden - paths.fp_hidden).norm() / paths.fp_hidden.norm())
