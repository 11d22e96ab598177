"""Calibration tokens, as the stage that makes them stores them and the one that uses them reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from bench.config.sections import Calibration
from bench.store.paths import calibration_file
from swq.errors import UserError
from swq.tensor_file import read_tensors, write_tensors

TOKENS = "tokens"


def write_tokens(path: Path, tokens: Tensor, settings: Calibration, **inputs: str) -> None:
    """Write tokens (n, seq_len) int64 with what decided them in the header: the settings, and hashes of the inputs."""
    write_tensors(path, {TOKENS: tokens}, settings.model_dump() | inputs)


def calibration_tokens(key: str, settings: Calibration) -> Tensor:
    """Return the tokens (n, seq_len) int64 of a calibration.

    Raises:
        UserError: they are missing or damaged, or were made with other settings.
    """
    path = calibration_file(key)
    tensors, header = read_tensors(path)
    wanted: dict[str, Any] = settings.model_dump()
    if TOKENS not in tensors or {name: header.get(name) for name in wanted} != wanted:
        raise UserError(f"{path} does not hold the tokens of calibration {key}; run `dvc repro calibrate@{key}`")
    return tensors[TOKENS]
