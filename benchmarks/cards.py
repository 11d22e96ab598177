"""Cards by their data sheets, the host beside them, and the time that counted operations take there.

Sources of the peaks: NVIDIA's data sheets of the H100 SXM (67 and 1,979/2 TFLOP/s, 80 GB, 3.35 TB/s) and the H200 SXM
(the same chip, 141 GB, 4.8 TB/s). Its paper "NVIDIA H100 Tensor Core GPU Architecture" gives the further digits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from bench.preflight.seconds import FLOAT, Rates
from benchmarks.counted import Operation

GATHER, NORMALS = 1.4e9, 2.9e8  # bytes/s of tensor[[i]] and numbers/s of torch.randn, by --host on 2 cores (AMD EPYC)
PINNED = 55e9  # bytes/s from pinned memory over PCIe 5 x16, of 63e9; examples of NVIDIA's nvbandwidth show 55
LAUNCH = 6e-6  # seconds that the host takes to launch one operation from Python


@dataclass(frozen=True)
class Card:
    """A data sheet: FLOP/s of float32 without tensor cores and of dense half precision with them; bytes/s; bytes."""

    name: str
    single: float
    half: float
    memory: float
    capacity: float

    def rates(self, reached: bool) -> Rates:
        """Return the peaks, or the shares of them that `estimate` assumes to be reached on an A100."""
        if not reached:
            return replace(Rates(), single=self.single, half=self.half, memory=self.memory, capacity=self.capacity)
        got = Rates()
        shares = {name: getattr(got, name) / getattr(A100, name) for name in ("single", "half", "memory")}
        speeds = {name: share * getattr(self, name) for name, share in shares.items()}
        return replace(got, **speeds, capacity=self.capacity)


A100 = Card("A100", 19.5e12, 312e12, 2.0e12, 80e9)  # bench/preflight/seconds.py names the same peaks
CARDS = {
    "h100": Card("H100", 66.9e12, 989.4e12, 3.35e12, 80e9),
    "h200": Card("H200", 66.9e12, 989.4e12, 4.8e12, 141e9),
}


def seconds(operations: Iterable[Operation], rates: Rates) -> float:
    """Return the seconds of operations one after another, each bound by its products or by its bytes."""
    return sum(max(op.flops / rates.products(op.half), op.bytes / rates.memory) for op in operations)


def measure_host() -> str:
    """Measure the host's side of a step on this machine: copying a sample of 2048 x 4096 floats, drawing normals."""
    kept, buffer, generator = torch.randn(6, 2048, 4096), torch.empty(1, 2048, 4096), torch.Generator().manual_seed(1)

    def rate(amount: float, run: Callable[[], object]) -> float:
        times = []
        for _ in range(9):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        return amount / sorted(times)[4]

    size = FLOAT * buffer.numel()
    return (
        f"gather by index {rate(size, lambda: kept[[3]]) / 1e9:.1f} GB/s, copy into a buffer"
        f" {rate(size, lambda: buffer.copy_(kept[3:4])) / 1e9:.1f} GB/s, normals"
        f" {rate(4096 * 128, lambda: torch.randn(4096, 128, generator=generator)) / 1e8:.1f}e8 a second"
    )
