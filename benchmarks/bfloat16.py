"""Matrix products in bfloat16 against float32 on this CPU, with its own instructions and as older CPUs would run them.

    python benchmarks/bfloat16.py

The product is that of SmolLM2-135M's widest linear on 256 tokens, on one thread. ONEDNN_MAX_CPU_ISA keeps the library
from using newer instructions; it is read at start, so each row is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

AS_IF = {"DEFAULT": "as it is", "AVX512_CORE": "as if without bfloat16 instructions", "AVX2": "as if without AVX-512"}


def measure() -> None:
    """Print the median milliseconds of the product in float32 and in bfloat16, measured in turns, and their ratio."""
    import torch

    torch.set_num_threads(1)
    pair = torch.randn(256, 576), torch.randn(576, 1536)
    pairs = (pair, tuple(tensor.bfloat16() for tensor in pair))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(11):
        for (left, right), taken in zip(pairs, times, strict=True):
            started = time.perf_counter()
            left @ right
            taken.append(1e3 * (time.perf_counter() - started))
    single, half = (sorted(taken[1:])[5] for taken in times)
    print(f"float32 {single:.1f} ms, bfloat16 {half:.1f} ms, ratio {half / single:.2f}")


def main() -> None:
    for isa, name in AS_IF.items():
        command = [sys.executable, __file__, "--measure"]
        found = subprocess.run(command, env=os.environ | {"ONEDNN_MAX_CPU_ISA": isa}, check=True, capture_output=True)
        print(f"{name}: {found.stdout.decode().strip()}")


if __name__ == "__main__":
    measure() if "--measure" in sys.argv else main()
