"""How much memory a stage needed at most, over all of its runs if some were killed."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

from bench.store.files import read_mapping, write_json
from swq.errors import UserError
from swq.identity import fingerprint

SUM = "sha256"


def peak_memory() -> dict[str, int]:
    """Return the peak resident memory of this process and, with a GPU, the peak of what torch allocated on it."""
    import torch  # here: fetching a corpus does not need torch

    unit = 1 if platform.system() == "Darwin" else 1024
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_available():
        peak["gpu"] = torch.cuda.max_memory_allocated()
    return peak


def keep_peak(path: Path) -> dict[str, int]:
    """Return the peak of this process and of those that kept theirs in `path` before, in bytes, and keep it there."""
    peak, before = peak_memory(), _kept(path)
    highest = {name: max(peak.get(name, 0), before.get(name, 0)) for name in {**before, **peak}}
    if highest != before:
        write_json(path, {"bytes": highest, SUM: _sum(path, highest)})
    return highest


def _kept(path: Path) -> dict[str, int]:
    try:
        kept = read_mapping(path)
    except UserError:
        return {}  # there is none, or it is damaged
    peak = kept.get("bytes", {})
    return peak if kept.get(SUM) == _sum(path, peak) else {}


def _sum(path: Path, peak: dict[str, int]) -> str:
    """Return a checksum of a peak and its place: a damaged one would look like a measurement."""
    return fingerprint([path.parent.name, peak])
