"""Every method in every precision, for a few steps of one random block at a model's real shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric

from bench.config.cell import Cell
from bench.config.sections import Calibration
from bench.preflight.bytes import reconstruct_device_bytes
from bench.preflight.shapes import shapes_in
from bench.preflight.workload import work_of
from bench.speed.memory import peak_of
from bench.speed.subject import VOCABULARY, Shapes
from swq.reconstruct.resume import BlockRecord
from swq.reconstruct.runner import reconstruct

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
SCHEME = "w2a16g128"
SAMPLES = 4
MSE, HYBRID = {"weights": {"mse": 1.0}}, {"weights": {"mse": 0.9, "sw": 0.1}}
NORMALISED = {"weights": {"mse": 0.9, "sw": 0.1}, "normalised": True}
L2_HYBRID = {"weights": {"l2": 0.9, "sw": 0.1}}
TESSERAQ = {"name": "tesseraq", "thresholds": [0.5, 0.1], "iterations": 3}
METHODS: dict[str, dict[str, Any]] = {
    "RTN": {"method": {"name": "rtn"}},
    "AWQ": {"method": {"name": "awq"}},
    "GPTQ": {"method": {"name": "gptq"}},
    "OmniQuant": {"method": {"name": "omniquant", "epochs": 1}, "loss": MSE},
    "OmniQuant + SW": {"method": {"name": "omniquant", "epochs": 1}, "loss": HYBRID},
    "OmniQuant + normalised SW, second target": {
        "method": {"name": "omniquant", "epochs": 1, "aug_loss": True},
        "loss": NORMALISED,
    },
    "OmniQuant with LET + mismatched SW": {
        "method": {"name": "omniquant", "epochs": 1, "let": True},
        "loss": {"weights": {"mse": 0.9, "sw_mismatched": 0.1}},
    },
    "ApiQ": {"method": {"name": "apiq", "epochs": 1}, "loss": MSE},
    "ApiQ + saliency + SW": {
        "method": {"name": "apiq", "epochs": 1, "saliency_weight": 0.1, "saliency_samples": 2},
        "loss": HYBRID,
    },
    "TesseraQ": {"method": TESSERAQ | {"start": {"name": "rtn"}}, "loss": {"weights": {"l2": 1.0}}},
    "TesseraQ + SW, from AWQ": {"method": TESSERAQ | {"start": {"name": "awq"}}, "loss": L2_HYBRID},
}


@dataclass(frozen=True)
class Trained:
    """One method in one precision.

    Attributes:
        method: as in `METHODS`.
        precision: as a configuration writes it.
        steps: of training.
        finite: whether every loss is.
        seconds: of the whole block, first uses of kernels included.
        peak: bytes that torch allocated on the device, the block's inputs left out.
        counted: bytes that `estimate` says, 512 MiB of CUDA's own included.
        error: what went wrong, in one line; empty if nothing did.
    """

    method: str
    precision: str
    steps: int = 0
    finite: bool = True
    seconds: float = 0.0
    peak: int = 0
    counted: float = 0.0
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.error and self.finite


def train(fabric_of: Callable[[str], Fabric], precision: str, name: str, block: Shapes, tokens: int) -> Trained:
    """Reconstruct the block once. Whatever goes wrong is what this command looks for: a result, which stops nothing.

    Args:
        fabric_of: returns the Fabric of a precision.
        precision: as a configuration writes it.
        name: of the method, in `METHODS`.
        block: its shapes.
        tokens: of a sample.
    """
    try:
        return _reconstructed(fabric_of(precision), block, tokens, name, precision)
    except Exception as error:
        return Trained(name, precision, error=one_line(error))


def one_line(error: Exception) -> str:
    """Return an error's kind and the first line of its message."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def _reconstructed(fabric: Fabric, block: Shapes, tokens: int, name: str, precision: str) -> Trained:
    fixed = {"model": "block", "calibration": "random", "scheme": SCHEME, "scale_dtype": "float32"}
    cell = Cell.model_validate(fixed | {"precision": precision} | METHODS[name])
    model = block.model(tokens)
    shapes = shapes_in(model)
    ids = torch.randint(0, VOCABULARY, (SAMPLES, tokens), generator=torch.Generator().manual_seed(0))
    records: list[BlockRecord] = []

    def walk() -> None:
        calibration = ids if cell.recipe.needs_calibration else None
        records.extend(reconstruct(fabric, model, cell.recipe, calibration, progress=False))

    peak = peak_of(walk, fabric.device)
    calibration = Calibration(model="block", corpus="random", n_samples=SAMPLES, seq_len=tokens, seed=0)
    losses = [step["loss"] for record in records for step in record.trace]
    return Trained(
        name,
        precision,
        steps=len(losses),
        finite=all(map(math.isfinite, losses)) and all(t.isfinite().all() for r in records for t in r.packed.values()),
        seconds=sum(record.seconds for record in records),
        peak=peak,
        counted=reconstruct_device_bytes(shapes, work_of(cell, calibration)),
    )
