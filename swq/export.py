"""A quantized model as a folder that transformers opens without this project: the weights that its codes stand for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.files import atomic_folder
from swq.reconstruct.recipe import Recipe

BESIDE = ("tokenizer*", "vocab*", "merges*", "special_tokens_map.json", "added_tokens.json", "chat_template*")
CARD = "README.md"


def write_folder(
    artefact: Artefact, recipe: Recipe, calibration: str, model: PreTrainedModel, out: Path, beside: Path | None
) -> None:
    """Write a transformers folder: configuration, dequantized weights, tokenizer and a model card.

    It takes as much disk as the model did: weights are stored as `model` holds them, and codes are not packed.

    Args:
        artefact: what is stored of the quantized model.
        recipe: what was done.
        calibration: on how many tokens, for people.
        model: the model that was quantized; its weights are overwritten. Its dtype is that of the files.
        out: the folder; it must not be there yet, or be empty.
        beside: a folder with tokenizer files to copy; None copies none.

    Raises:
        UserError: the folder holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not empty; nothing in it was changed")
    artefact.apply(model, artefact.model_sha256)
    with atomic_folder(out) as folder:
        model.save_pretrained(folder)
        for file in _beside(beside):
            shutil.copy2(file, folder / file.name)
        (folder / CARD).write_text(card(artefact, recipe, calibration, model), encoding="utf-8")


def _beside(folder: Path | None) -> Iterable[Path]:
    return [] if folder is None else sorted({file for pattern in BESIDE for file in folder.glob(pattern)})


def card(artefact: Artefact, recipe: Recipe, calibration: str, model: PreTrainedModel) -> str:
    """Return the model card: what was quantized, how, and what the files hold."""
    name = model.config.name_or_path or type(model).__name__
    name = Path(name).name if Path(name).exists() else name
    loss = recipe.loss and ", ".join(f"{weight:g} {term}" for term, weight in recipe.loss.weights.items())
    n_weights = sum(out * inputs for out, inputs in artefact.shapes.values())
    rows = {
        "base model": f"{name} ({model.config.model_type})",
        "method": f"{recipe.method.label}: " + ", ".join(f"{k} {v}" for k, v in vars(recipe.method).items()),
        "loss": loss or "none: nothing was trained",
        "scheme": f"{recipe.scheme}: {n_weights:,} weights in {len(artefact.shapes)} linears",
        "calibration": calibration or "none",
        "bits per weight": f"{artefact.bits_per_weight() or 0:.3f} where codes, scales and zero points are packed",
        "seed": str(recipe.seed),
        "these files": f"dequantized weights in {str(model.dtype).removeprefix('torch.')}; nothing is packed here",
    }
    table = "\n".join(f"| {what} | {said} |" for what, said in rows.items())
    return (
        f"# {Path(name).name}, quantized to {recipe.scheme}\n\n"
        "Weights were rounded by swq, and are stored here as the numbers that their codes"
        " stand for. So any software that opens the base model opens this one.\n\n"
        f"| | |\n| --- | --- |\n{table}\n"
    )


def loaded(folder: Path, dtype: torch.dtype | None) -> PreTrainedModel:
    """Return the model in a folder, in the dtype that it is stored in if none is given."""
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype or "auto", use_safetensors=True, local_files_only=True
    )
    return model
