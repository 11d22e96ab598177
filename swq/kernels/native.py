"""Building and loading the compiled kernels: by the machine's own C compiler, once, kept in a cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_suffix(".c")
COMPILER = "gcc"
# Without contraction, a product and a sum round one after the other, as in PyTorch. The next two only let the compiler
# use vector instructions for `rintf`.
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")
OPENMP = "libgomp.so.1"  # of PyTorch on Linux: its threads are used; a second set would be in their way
GROUP_SIZES = range(8, 8192)  # sums over other groups have another order in PyTorch
SECONDS = 60  # that the compiler may take; it takes less than one

_library: ctypes.CDLL | None = None


def library() -> ctypes.CDLL | None:
    """Return the compiled kernels if they are in use."""
    return _library


def use(found: ctypes.CDLL | None) -> None:
    """Use these kernels from here on; None goes back to the plain formulas."""
    global _library
    _library = found


def fits(weight: Tensor, *others: Tensor) -> bool:
    """Say whether kernels can work on these tensors: on the CPU, float32, contiguous, of groups summed as in C.

    A tensor of another class (PyTorch's fake tensors, say) may have no memory, so it stays with the plain formulas.
    """
    return weight.shape[-1] in GROUP_SIZES and all(map(_has_floats, (weight, *others)))


def _has_floats(tensor: Tensor) -> bool:
    on_cpu = tensor.device.type == "cpu" and type(tensor) in (Tensor, torch.nn.Parameter)
    return on_cpu and tensor.dtype == torch.float32 and tensor.is_contiguous()


def call(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor | None], numbers: Sequence[float]) -> None:
    """Run a kernel.

    Args:
        name: the function's in the C source.
        inputs: what it reads: first the weight (out, n_groups, group_size); among the rest, what belongs to a group.
        outputs: what it writes; None where it is not wanted.
        numbers: its constants, float32 in C.
    """
    assert _library is not None
    size = inputs[0].shape[-1]
    pointers = [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in (*inputs, *outputs)]
    shape = (ctypes.c_int64(inputs[0].numel() // size), ctypes.c_int64(size))
    constants = [ctypes.c_float(number) for number in numbers]
    getattr(_library, name)(*pointers, *shape, *constants, ctypes.c_int(torch.get_num_threads()))


def build() -> ctypes.CDLL | None:
    """Return the kernels, compiled if the cache has none for this compiler and processor; None where that fails.

    It fails where there is no gcc, or where PyTorch's threads are not those of gcc's OpenMP (so on macOS and Windows).
    """
    compiler = shutil.which(COMPILER)
    if compiler is None or not _has_openmp():
        return None
    try:
        path = _cached(compiler)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None


def _has_openmp() -> bool:
    no_load = getattr(os, "RTLD_NOLOAD", None)
    if no_load is None:
        return False
    try:
        ctypes.CDLL(OPENMP, mode=no_load)
    except OSError:
        return False
    return True


def _cached(compiler: str) -> Path:
    """Return the shared library's path; it is compiled first if it is not there.

    Its name holds what decides it: the source, the flags, and the compiler's own macros, which name its version and the
    processor's instructions. So machines may share the folder.
    """
    macros = _run(compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull)
    decides = "\n".join([SOURCE.read_text(encoding="utf-8"), *FLAGS, macros])
    path = _cache() / f"kernels-{hashlib.sha256(decides.encode()).hexdigest()[:16]}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            _run(compiler, *FLAGS, "-fPIC", "-shared", "-o", str(made), str(SOURCE), "-lm")
            made.replace(path)  # another process may make the same one meanwhile
    return path


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swq"


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=SECONDS).stdout
