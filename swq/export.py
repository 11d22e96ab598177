"""A quantized model as a folder that transformers opens without this project.

It holds the weights that codes stand for, or, packed, the codes themselves (swq/packed.py).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import nn
from transformers import PreTrainedModel

import swq
from swq.checkpoint import Artefact
from swq.errors import UserError
from swq.files import atomic_folder
from swq.measured import Windows, measure_perplexity, perplexity_row
from swq.packed import WRITTEN_FOR, check_packable, configuration, packed_tensors
from swq.reconstruct.recipe import Recipe
from swq.repeat import quantize_command

BESIDE = ("tokenizer*", "vocab*", "merges*", "special_tokens_map.json", "added_tokens.json", "chat_template*")
CARD, CONFIG = "README.md", "config.json"
MODEL_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")  # as the hub's: NAME or OWNER/NAME


def check_possible(artefact: Artefact, out: Path, packed: bool) -> None:
    """Raise unless the folder can be written; before a model is loaded for it.

    Raises:
        UserError: the folder holds something, or the packed format cannot hold the artefact.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not empty; nothing in it was changed")
    if packed:
        check_packable(artefact)


def write_folder(
    artefact: Artefact,
    recipe: Recipe,
    calibration: str,
    model: PreTrainedModel,
    out: Path,
    beside: Path | None,
    packed: bool = False,
    *,
    name: str | None = None,
    precision: str = "32-true",
    windows: Windows | None = None,
    fabric: Fabric | None = None,
) -> float | None:
    """Write a transformers folder: configuration, weights, tokenizer and a model card. Return the measured perplexity.

    If codes are not packed, it takes as much disk as the model did: weights are stored as `model` holds them.

    Args:
        artefact: what is stored of the quantized model.
        recipe: what was done.
        calibration: on how many tokens, for people.
        model: the model that was quantized; its weights are overwritten. Its dtype is that of the files.
        out: the folder; it must not be there yet, or be empty.
        beside: a folder with tokenizer files to copy; None copies none.
        packed: store codes, scales and zero points in place of the quantized weights.
        name: of the base model, for the card; by default what `base_name` finds.
        precision: of training, for the card.
        windows: what the weights that are written are measured on; None measures nothing.
        fabric: owns the device that measures; by default the first GPU, or else the CPU.

    Raises:
        UserError: the folder holds something, or the model cannot read the windows.
    """
    check_possible(artefact, out, packed)
    if windows:
        windows.check(model)
    artefact.apply(model, artefact.model_sha256)
    perplexity = None
    if windows:
        perplexity = measure_perplexity(model, windows, fabric or Fabric(accelerator="auto", devices=1))
    about = {
        "rounding": rounding(artefact, model),
        "base model": name or base_name(model, beside),
        "perplexity": perplexity_row(perplexity, windows, _dtype(model)),
        "command": _command(recipe, precision, packed),
    }
    with atomic_folder(out) as folder:
        if packed:
            bits = _save_packed(artefact, model, folder)
        else:
            model.save_pretrained(folder)
            bits = 8.0 * model.dtype.itemsize
        about["bits per weight"] = f"{bits:.4g} in these files"
        for file in _beside(beside):
            shutil.copy2(file, folder / file.name)
        (folder / CARD).write_text(card(artefact, recipe, calibration, model, about, packed), encoding="utf-8")
    return perplexity


def _save_packed(artefact: Artefact, model: PreTrainedModel, folder: Path) -> float:
    """Write configuration and weights, and return the stored bits per quantized weight."""
    assert artefact.scheme is not None
    kept = {name: value for name, value in model.state_dict().items() if not _quantized(name, artefact)}
    packed = packed_tensors(artefact, model.dtype)
    model.save_pretrained(folder, state_dict=kept | packed)
    linears = (path for path, module in model.named_modules() if isinstance(module, nn.Linear))
    described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    described["quantization_config"] = configuration(
        artefact.scheme, (path for path in linears if path not in artefact.shapes)
    )
    (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return 8 * sum(tensor.nbytes for tensor in packed.values()) / _n_weights(artefact)


def _n_weights(artefact: Artefact) -> int:
    return sum(out * inputs for out, inputs in artefact.shapes.values())


def _quantized(name: str, artefact: Artefact) -> bool:
    path, _, leaf = name.rpartition(".")
    return leaf == "weight" and path in artefact.shapes


def _beside(folder: Path | None) -> Iterable[Path]:
    return [] if folder is None else sorted({file for pattern in BESIDE for file in folder.glob(pattern)})


def base_name(model: PreTrainedModel, folder: Path | None) -> str:
    """Return a model's name: the one in its config.json if that is a name and no path, else its folder's.

    Args:
        model: the model.
        folder: where it is; None if it was given in memory.
    """
    given = str(folder or model.config.name_or_path or type(model).__name__)
    config = Path(given) / CONFIG
    if not config.is_file():
        return given
    said = json.loads(config.read_text(encoding="utf-8")).get("_name_or_path")
    named = isinstance(said, str) and MODEL_NAME.fullmatch(said) and not Path(said).exists()
    return str(said) if named else config.absolute().parent.name


def _command(recipe: Recipe, precision: str, packed: bool) -> str:
    if not (quantizes := quantize_command(recipe, precision)):
        return "none: the method is an object of Python"
    return f"`{quantizes} && swq export quantized{' --packed' if packed else ''} --out exported`"


def _dtype(model: PreTrainedModel) -> str:
    return str(model.dtype).removeprefix("torch.")


def card(
    artefact: Artefact,
    recipe: Recipe,
    calibration: str,
    model: PreTrainedModel,
    about: Mapping[str, str],
    packed: bool = False,
) -> str:
    """Return the model card: what was quantized, how, and what the files hold.

    `about` holds the base model's name, the bits in these files, their rounding, the perplexity and the command.
    """
    n_weights = _n_weights(artefact)
    dtype = _dtype(model)
    if packed:
        files = f"packed codes, scales and zero points; everything else in {dtype}"
        stored = (
            "stored here as packed codes, in compressed-tensors' format pack-quantized. transformers opens the folder"
            f" where compressed-tensors is installed (tested: {WRITTEN_FOR}; 3 bits need 0.18 or newer), and computes"
            " the weights from the codes."
        )
    else:
        files = f"dequantized weights in {dtype}; nothing is packed here"
        added = ", with the method's low-rank adapters added to them" if artefact.has_adapters else ""
        stored = f"stored here as the numbers that their codes stand for{added}. So any software that opens the base"
        stored += " model opens this one"
        stored += " if it reads the biases that config.json turns on." if artefact.biased else "."
    settings = ", ".join(f"{k} {v}" for k, v in vars(recipe.method).items())
    rows = {
        "base model": f"{about['base model']} ({model.config.model_type})",
        "method": ": ".join(filter(None, (recipe.label, settings))),
        "loss": loss_row(recipe),
        "scheme": f"{recipe.scheme}: {n_weights:,} weights in {len(artefact.shapes)} linears",
        "calibration": calibration or "none",
        "bits per weight": f"{artefact.bits_per_weight() or 0:.3f} where codes, {artefact.besides} are packed;"
        f" {about['bits per weight']}",
        "rounding": about["rounding"],
        "perplexity": about["perplexity"],
        "seed": str(recipe.seed),
        "these files": files,
        "command": about["command"],
    }
    table = "\n".join(f"| {what} | {said} |" for what, said in rows.items())
    return (
        f"# {about['base model']}, quantized to {recipe.scheme}\n\n"
        f"The weights were quantized by swq-bench's library swq {swq.__version__}. They are {stored}\n\n"
        f"| | |\n| --- | --- |\n{table}\n"
    )


@torch.no_grad()
def rounding(artefact: Artefact, model: PreTrainedModel) -> str:
    """Return how far the weights of a model differ from what the codes stand for, because of the model's dtype."""

    def difference(path: str) -> float:
        exact = artefact.weight(path).dequantize()
        off = model.get_parameter(f"{path}.weight").float().cpu() - exact
        return float(off.norm() / exact.norm().clamp(min=1e-30))

    largest = max(map(difference, artefact.shapes), default=0.0)
    if not largest:
        return "none: weights are exactly what the codes stand for"
    return (
        f"weights in {_dtype(model)} differ from what the codes stand for by at most {largest:.1e} of a linear's norm"
    )


def loss_row(recipe: Recipe) -> str:
    """Return what was minimised, for people."""
    if recipe.loss is None:
        return "none: nothing was trained"
    terms = ", ".join(f"{weight:g} {term}" for term, weight in recipe.loss.weights.items())
    return f"{terms}, and the method's saliency term" if recipe.method.gradient_samples else terms


def loaded(folder: Path, dtype: torch.dtype | None) -> PreTrainedModel:
    """Return the model in a folder, in the dtype that it is stored in if none is given."""
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype or "auto", use_safetensors=True, local_files_only=True
    )
    return model
