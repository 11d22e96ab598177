"""What is recorded about a result besides its numbers: where it came from and what it cost."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from bench.store.files import write_json
from bench.store.peak import peak_memory
from bench.store.resume import State

PARAMS = Path("params.yaml")
# What a run rewrites, and params.yaml, whose values are in the records themselves. Only the rest decides the result.
MADE_BY_A_RUN = (":!dvc.lock", ":!results", ":!params.yaml")
# The libraries whose code makes a result.
LIBRARIES = ("torch", "lightning", "transformers", "tokenizers", "lm_eval", "datasets", "safetensors", "numpy")


@contextmanager
def timed_record(path: Path, state: State | None = None, **facts: Any) -> Iterator[dict[str, Any]]:
    """Measure a stage and write its record to `path`: provenance, wall time in seconds, peak memory in bytes.

    These facts change from run to run, so they are beside the results and not in them. The stage may add more to the
    dict it is given. With a `state`, what earlier, killed runs took for the pieces that this one read back counts too.
    """
    started = time.perf_counter()
    record: dict[str, Any] = dict(facts)
    yield record
    seconds = time.perf_counter() - started
    if state and state.seconds:
        record["resumed_seconds"] = round(state.seconds, 2)
        seconds += state.seconds
    record["wall_seconds"] = round(seconds, 2)
    record["peak_memory_bytes"] = state.peak() if state else peak_memory()
    record["provenance"] = provenance()
    write_json(path, record)


def provenance() -> dict[str, Any]:
    """Return git commit, library versions, the plan, and the machine; `gpu`, `cuda` and `driver` are None without a
    GPU, `plan_sha256` without a plan."""
    import torch

    has_gpu = torch.cuda.is_available()
    return {
        "git_commit": _said("git", "rev-parse", "HEAD"),
        "git_clean": _said("git", "status", "--porcelain", "--untracked-files=no", "--", ".", *MADE_BY_A_RUN) == "",
        "plan_sha256": _plan(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in (*LIBRARIES, "dvc")},
        "platform": platform.platform(),
        "processor": processor(),
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "cuda": torch.version.cuda if has_gpu else None,
        "driver": _driver() if has_gpu else None,
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """Return the processor's model name, or its architecture where the system tells no more."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _plan() -> str | None:
    """Return the SHA-256 of the plan that the suite is run by, which params.yaml holds beside the plan itself."""
    try:
        values = yaml.load(PARAMS.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return str(values["plan"]["sha256"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None


def _driver() -> str | None:
    """Return the version of NVIDIA's driver, which all GPUs of a machine share."""
    versions = _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return versions.splitlines()[0] if versions else None


def _said(*command: str) -> str | None:
    """Return what a command printed; None where it is not installed or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
