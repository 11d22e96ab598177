"""What is written down of the machine beside a result."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import torch

from bench.store import record
from bench.store.record import LIBRARIES, processor, provenance


def test_provenance_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = provenance()
    assert found["gpu"] is found["cuda"] is found["driver"] is None
    assert list(found["libraries"]) == [*LIBRARIES, "dvc"] and found["libraries"]["tokenizers"]
    assert found["processor"] == processor() != ""


@pytest.mark.parametrize(
    ("script", "driver"),
    [
        ("echo 580.65.06; echo 580.65.06", "580.65.06"),  # a line for each GPU
        ("exit 9", None),
        ("true", None),
        (None, None),
    ],
    ids=["two-gpus", "fails", "says-nothing", "not-installed"],
)
def test_provenance_with_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, driver: str | None
) -> None:
    if script is not None:
        command = tmp_path / "nvidia-smi"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = provenance()
    assert (found["gpu"], found["cuda"], found["driver"]) == ("NVIDIA H100 80GB HBM3", "13.0", driver)
    assert found["git_commit"] is None, "git is not on this PATH"


def test_processor_without_a_model_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """ARM names no model in /proc/cpuinfo, and often none elsewhere."""
    monkeypatch.setattr(Path, "read_text", lambda path: "processor : 0\n")
    monkeypatch.setattr(record.platform, "processor", lambda: "")
    monkeypatch.setattr(record.platform, "machine", lambda: "aarch64")
    assert processor() == "aarch64"
