"""Where a stage runs: device, threads and determinism, set once before anything is computed."""

from __future__ import annotations

import os
import warnings

import psutil
import torch
from lightning.fabric import Fabric

from bench.config.sections import Runtime
from swq.errors import UserError

FREE_FOR_WEIGHTS = 0.75  # share of a device's free memory; activations need the rest


def has_gpu(runtime: Runtime) -> bool:
    """Say whether stages run on a GPU."""
    return runtime.device == "gpu" or (runtime.device == "auto" and torch.accelerator.is_available())


def start(runtime: Runtime, precision: str = "32-true") -> Fabric:
    """Pin threads and deterministic kernels and return the Fabric that owns the device.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    if runtime.device == "gpu" and not torch.cuda.is_available():
        raise UserError("runtime.device is gpu, but torch sees no GPU (allowed without one: auto, cpu)")
    if precision == "16-mixed" and not has_gpu(runtime):
        raise UserError("precision 16-mixed needs a GPU; without one use precision: 32-true or bf16-mixed")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on NVIDIA GPUs
    torch.set_num_threads(runtime.threads)
    torch.use_deterministic_algorithms(True)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    return Fabric(accelerator=runtime.device, devices=1, precision=precision)  # type: ignore[arg-type]


def free_memory(device: torch.device) -> int:
    """Return the bytes that weights may take on a device: most of what is free."""
    if device.type == "cuda":
        return int(FREE_FOR_WEIGHTS * torch.cuda.mem_get_info(device)[0])
    return int(FREE_FOR_WEIGHTS * psutil.virtual_memory().available)
