"""Where a stage runs: device, threads and determinism, set once before anything is computed."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import psutil
import torch

from bench.config.sections import Runtime
from bench.store.record import LIBRARIES, processor
from swq.errors import UserError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

FREE_FOR_WEIGHTS = 0.75  # share of a device's free memory; activations need the rest
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's names for its settings, in malloc.h
KEPT_BLOCK = 2**30  # bytes up to which a freed block is kept
# Libraries under torch read these when they are loaded, and torch's own settings do not reach past them.
FULL_FLOAT32 = {
    "NVIDIA_TF32_OVERRIDE": "0",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "DNNL_DEFAULT_FPMATH_MODE": "STRICT",
}


def has_gpu(runtime: Runtime) -> bool:
    """Say whether stages run on a GPU."""
    return runtime.device == "gpu" or (runtime.device == "auto" and torch.accelerator.is_available())


def start(runtime: Runtime) -> torch.device:
    """Pin threads, full float32 and deterministic kernels, and return the device.

    Raises:
        UserError: a GPU is asked for and there is none, or the environment asks for rounded float32 in a way that torch
            cannot take back.
    """
    if runtime.device == "gpu" and not torch.cuda.is_available():
        raise UserError("runtime.device is gpu, but torch sees no GPU (allowed without one: auto, cpu)")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on NVIDIA GPUs
    torch.set_num_threads(runtime.threads)
    torch.use_deterministic_algorithms(True)
    # Otherwise torch fills every tensor that it allocates with NaN. That costs time and changes no result, because no
    # kernel here reads memory that it did not write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _pin_float32()
    return _device(runtime)


def start_fabric(runtime: Runtime, precision: str) -> Fabric:
    """Do the same for training, and return the Fabric that owns the device and computes in `precision`.

    Raises:
        UserError: as `start`, or the precision needs a GPU.
    """
    device = start(runtime)
    if precision == "16-mixed" and device.type == "cpu":
        raise UserError("precision 16-mixed needs a GPU; without one use precision: 32-true or bf16-mixed")
    keep_freed_memory()
    from lightning.fabric import Fabric  # takes a second, and only training needs it

    for part in ("lightning.fabric", "lightning.pytorch"):  # its hints include one to round float32 to TF32
        logging.getLogger(part).setLevel(logging.WARNING)
    return Fabric(accelerator=device.type, devices=1, precision=precision)  # type: ignore[arg-type]


def _device(runtime: Runtime) -> torch.device:
    """Return the first GPU, or the CPU."""
    found = torch.accelerator.current_accelerator() if has_gpu(runtime) else None
    return torch.device("cpu") if found is None else torch.device(found.type, 0)


def _pin_float32() -> None:
    """Let float32 numbers be multiplied as such on all back ends, not rounded to TF32 or bfloat16 first.

    It takes all three settings. The last one alone leaves a matrix product as TORCH_ALLOW_TF32_CUBLAS_OVERRIDE, which
    some images set, has made it. And torch refuses to answer its older questions where they contradict the newer ones.

    Raises:
        UserError: a variable of FULL_FLOAT32 says otherwise.
    """
    for name, full in FULL_FLOAT32.items():
        given = os.environ.get(name) or full
        if given.upper() != full:
            raise UserError(
                f"the environment sets {name}={given}, which may round float32 numbers before they are multiplied:"
                f" unset it (allowed: {full})"
            )
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors for later ones.

    By default it returns large blocks to the system, which zeroes every page of the next tensor again. That takes time
    in every step of a training. Only Linux's usual C library, glibc, has this setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for threshold in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(threshold, KEPT_BLOCK)


def machine(fabric_device: torch.device) -> dict[str, str | int]:
    """Return what of the machine decides a result's bytes, each under a name for people.

    Two GPUs of one model are the same here, so neither an index nor a serial number takes part.

    Args:
        fabric_device: where the stage computes.

    Returns:
        the GPU with its compute capability and CUDA, or else the processor with the instructions that torch uses on
        it; then the number of threads, and the versions of the libraries.
    """
    if fabric_device.type == "cuda":
        chip = {
            "GPU": torch.cuda.get_device_name(fabric_device),
            "compute capability": ".".join(map(str, torch.cuda.get_device_capability(fabric_device))),
            "CUDA": torch.version.cuda or "none",
        }
    else:
        chip = {"processor": processor(), "instruction set": torch.backends.cpu.get_cpu_capability()}
    return chip | {"threads": torch.get_num_threads()} | {name: version(name) for name in LIBRARIES}


def free_memory(device: torch.device) -> int:
    """Return the bytes that weights may take on a device: most of what is free."""
    if device.type == "cuda":
        return int(FREE_FOR_WEIGHTS * torch.cuda.mem_get_info(device)[0])
    return int(FREE_FOR_WEIGHTS * psutil.virtual_memory().available)
