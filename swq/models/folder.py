"""A transformers folder, looked at before a model is built from it."""

from __future__ import annotations

import json
from pathlib import Path

from swq.errors import UserError, one_of
from swq.models import families, family_of

INDEX = "model.safetensors.index.json"


def check_model_folder(folder: Path | str) -> str:
    """Return the `model_type` of the model in `folder`, without loading it.

    Raises:
        UserError: no such folder, no config.json, or transformers has no causal LM for the model.
    """
    config = Path(folder) / "config.json"
    if not config.is_file():
        raise UserError(f"model {str(folder)!r} is not a transformers model folder: there is no {config}")
    try:
        described = json.loads(config.read_text(encoding="utf-8"))
        model_type, architectures = described["model_type"], described.get("architectures") or []
        known = _known(model_type)
        causal = any("CausalLM" in name for name in architectures)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{config} does not name a model_type") from error
    if not known:
        raise UserError(f"{config}: {one_of('model_type', model_type, (t for f in families() for t in f.model_types))}")
    if not causal:
        raise UserError(f"{config}: architectures {architectures} contain no causal language model")
    return model_type


def _known(model_type: str) -> bool:
    """Say whether transformers has the model. It takes two seconds to ask, and it has those of every family."""
    if family_of(model_type):
        return True
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def reason(error: Exception) -> str:
    """Return the first line of what another library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
