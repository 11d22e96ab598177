"""The command that quantizes by a recipe, for a model card."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from swq.methods.base import Method
from swq.methods.plugin import every_method

if TYPE_CHECKING:
    from swq.reconstruct.recipe import Recipe


def quantize_command(recipe: Recipe, precision: str) -> str:
    """Return the command that quantizes by a recipe, with its defaults left out; empty if the console lacks the method.

    FOLDER stands for the base model, TEXT for the calibration text or tokens.
    """
    method = recipe.method
    if not (name := _name(method)):
        return ""
    words = ["--scheme", str(recipe.scheme), "--method", name]
    settings = list(_settings("", method))
    if recipe.loss:
        words += ["--loss", ",".join(f"{term}={weight!r}" for term, weight in recipe.loss.weights.items())]
        settings += [text for text in _settings("loss.", recipe.loss) if not text.startswith("loss.weights=")]
    words += [word for setting in settings for word in ("--set", setting)]
    usual = (("--seed", recipe.seed, 0), ("--scale-dtype", recipe.scale_dtype, "float16"))
    for option, value, default in (*usual, ("--precision", precision, "32-true")):
        words += [option, str(value)] if value != default else []
    words += ["--bias-compensation"] if recipe.bias_compensation else []
    text = ["--calibration", "TEXT"] if recipe.needs_calibration else []
    return shlex.join(["swq", "quantize", "FOLDER", *words, *text, "--out", "quantized"])


def _name(method: Method) -> str:
    return next((name for name, kind in every_method().items() if type(method) is kind), "")


def _settings(prefix: str, of: Any) -> Iterator[str]:
    """Yield NAME=VALUE for each field of a dataclass that has not its default, as `--set` takes it."""
    for field in fields(of):
        value = getattr(of, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if value == default:
            continue
        if isinstance(value, Method):
            yield f"{field.name}={_name(value)}"
            yield from _settings(f"{field.name}.", value)
        else:
            yield f"{prefix}{field.name}={json.dumps(value, separators=(',', ':'))}"
