"""What is recorded about a result besides its numbers: where it came from and what it cost."""

from __future__ import annotations

import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.store.files import write_json

# What a run rewrites, and params.yaml, whose values are in the records themselves. Only the rest decides the result.
MADE_BY_A_RUN = (":!dvc.lock", ":!results", ":!params.yaml")
LIBRARIES = ("torch", "lightning", "transformers", "lm_eval", "datasets", "safetensors", "numpy", "dvc")


@contextmanager
def timed_record(path: Path, **facts: Any) -> Iterator[dict[str, Any]]:
    """Measure a stage and write its record to `path`: provenance, wall time in seconds, peak memory in bytes.

    These facts change from run to run, so they are beside the results and not in them. The stage may add more to the
    dict it is given.
    """
    started = time.perf_counter()
    record: dict[str, Any] = dict(facts)
    yield record
    record["wall_seconds"] = round(time.perf_counter() - started, 2)
    record["peak_memory_bytes"] = peak_memory()
    record["provenance"] = provenance()
    write_json(path, record)


def peak_memory() -> dict[str, int]:
    """Return the peak resident memory of this process and, with a GPU, the peak of what torch allocated on it."""
    import torch  # here: fetching a corpus does not need torch

    unit = 1 if platform.system() == "Darwin" else 1024
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.cuda.is_available():
        peak["gpu"] = torch.cuda.max_memory_allocated()
    return peak


def provenance() -> dict[str, Any]:
    """Return git commit, library versions, and the machine."""
    import torch

    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_clean": _git("status", "--porcelain", "--untracked-files=no", "--", ".", *MADE_BY_A_RUN) == "",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
