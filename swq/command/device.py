"""Where commands compute."""

from __future__ import annotations

import logging
import os

import torch
from lightning.fabric import Fabric

from swq.errors import UserError


def start_fabric(device: str, precision: str = "32-true", threads: int | None = None) -> Fabric:
    """Pin what decides the last bits of a result, and return what owns the device.

    Args:
        device: auto, cpu or gpu.
        precision: as Lightning writes it.
        threads: of the CPU; None leaves them to torch.

    Raises:
        UserError: there is no GPU, and one is asked for or needed.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on NVIDIA GPUs
    if device == "gpu" and not torch.accelerator.is_available():
        raise UserError("--device gpu: torch sees no GPU (allowed without one: auto, cpu)")
    if threads:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # as the pipeline
    torch.set_float32_matmul_precision("highest")
    for part in ("lightning.fabric", "lightning.pytorch"):  # its hints include one to round float32 to TF32
        logging.getLogger(part).setLevel(logging.WARNING)
    on_gpu = device != "cpu" and torch.accelerator.is_available()
    if precision == "16-mixed" and not on_gpu:
        raise UserError("--precision 16-mixed needs a GPU; without one use 32-true or bf16-mixed")
    accelerator = "gpu" if on_gpu else "cpu"
    return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
