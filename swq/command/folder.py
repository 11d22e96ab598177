"""What `swq quantize` leaves: a folder with the packed model and with what was done, which other commands read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from swq.api import Quantized
from swq.checkpoint import Artefact
from swq.command.settings import NAME, method_of
from swq.errors import UserError
from swq.files import atomic_folder, write_text
from swq.losses import Loss
from swq.methods.base import Method
from swq.methods.plugin import every_method
from swq.reconstruct.recipe import Recipe

QUANTIZED, RECIPE = "quantized.safetensors", "recipe.json"
FORMAT, VERSION = "swq-quantized", 1


@dataclass(frozen=True)
class Stored:
    """A folder that `swq quantize` wrote.

    Attributes:
        quantized: the model.
        losses: of each block, the mean loss over the first and over the last epoch; empty if nothing was trained.
    """

    quantized: Quantized
    losses: list[tuple[float, float]]


def check_free(out: Path) -> None:
    """Raise if something has the name of a folder that is to be written, and is not an empty folder.

    Raises:
        UserError: it is so.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not empty; nothing in it was changed: give another --out")


def write(out: Path, quantized: Quantized, epochs: list[int], precision: str) -> None:
    """Write the folder, whole or not at all.

    Args:
        out: the folder.
        quantized: the model; it was in a folder.
        epochs: training steps of each epoch of a block.
        precision: of training.
    """
    assert quantized.source is not None
    recipe = quantized.recipe
    said = {
        "format": FORMAT,
        "version": VERSION,
        "model": str(quantized.source.resolve()),
        "method": _method_data(recipe.method),
        "scheme": str(recipe.scheme),
        "loss": asdict(recipe.loss) if recipe.loss else None,
        "seed": recipe.seed,
        "scale_dtype": recipe.scale_dtype,
        "bias_compensation": recipe.bias_compensation,
        "precision": precision,
        "calibration": quantized.calibration,
        "losses": [first_and_last(steps, epochs) for steps in quantized.losses if steps],
    }
    check_free(out)
    with atomic_folder(out) as new:
        quantized.save(new / QUANTIZED)
        write_text(new / RECIPE, json.dumps(said, indent=2) + "\n")


def first_and_last(steps: list[float], epochs: list[int]) -> tuple[float, float]:
    """Return the mean loss over the first and over the last of the epochs that a block's steps fall into."""
    rest = iter(steps)
    means = [fmean(islice(rest, length)) for length in epochs]
    return means[0], means[-1]


def read(folder: Path, model: Path | None = None) -> Stored:
    """Read the folder.

    Args:
        folder: that `swq quantize` wrote.
        model: the folder of the model that was quantized, if it has been moved since.

    Raises:
        UserError: it is none, or is damaged.
    """
    path = folder / RECIPE
    if not path.is_file():
        raise UserError(f"{folder} is no folder that `swq quantize` wrote: there is no {path}")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if (said["format"], said["version"]) != (FORMAT, VERSION):
            raise UserError(f"{path} is of version {said['version']}; this code reads version {VERSION} of {FORMAT}")
        method = _method(said["method"])
        loss = None if said["loss"] is None else Loss(**said["loss"])
        artefact = Artefact.load(folder / QUANTIZED)
        recipe = Recipe(
            method, artefact.scheme, loss, said["seed"], said["scale_dtype"], bool(said.get("bias_compensation", False))
        )
        source = model or Path(said["model"])
        return Stored(
            Quantized(artefact, [], recipe, said["calibration"], source, precision=said["precision"]),
            [(float(first), float(last)) for first, last in said["losses"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error})") from error


def _method_data(method: Method) -> dict[str, Any]:
    """Return a method's settings with its name; a method among them likewise."""
    values = {field.name: getattr(method, field.name) for field in fields(method)}  # type: ignore[arg-type]
    inner = {key: _method_data(value) if isinstance(value, Method) else value for key, value in values.items()}
    return {NAME: next(name for name, kind in every_method().items() if type(method) is kind), **inner}


def _method(said: Mapping[str, Any]) -> Method:
    return method_of(said[NAME], {key: value for key, value in said.items() if key != NAME})
