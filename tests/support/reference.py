"""The values that were recorded from the authors' code, in tests/reference."""

from __future__ import annotations

import functools
import json
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from tests.support.repository import REFERENCE

Tensors = dict[str, Tensor]


@functools.cache
def read_reference(name: str) -> Tensors:
    """Return one file of the reference folder; read once, so a test must not change the tensors."""
    return load_file(REFERENCE / f"{name}.safetensors")


@functools.cache
def read_meta() -> dict[str, Any]:
    """Return the settings and the losses that go with the reference tensors."""
    return json.loads((REFERENCE / "meta.json").read_text(encoding="utf-8"))
