"""What a stage computes with: full float32 whatever the environment asks for, and a machine that has a name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from typing import Any, Literal

import pytest
import torch

from bench import runtime
from bench.config.sections import Runtime
from bench.store.record import LIBRARIES
from swq.errors import UserError
from tests.support.repository import ROOT

ON_CPU = Runtime(device="cpu", threads=1)

# Prints what torch does with float32 numbers, as its newer and its older questions tell, and the error of a product.
ASK = """
import json, torch
from bench import runtime
from bench.config.sections import Runtime
before = torch.backends.cuda.matmul.fp32_precision
runtime.start(Runtime(device="cpu", threads=1))
b = torch.backends
one, other = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
exact = one.double() @ other.double()
print(json.dumps({
    "before": before,
    "newer": [part.fp32_precision for part in (
        b, b.cuda.matmul, b.cudnn, b.cudnn.conv, b.cudnn.rnn, b.mkldnn, b.mkldnn.matmul, b.mkldnn.conv, b.mkldnn.rnn
    )],
    "older": [torch.get_float32_matmul_precision(), b.cuda.matmul.allow_tf32, b.cudnn.allow_tf32],
    "error": ((one @ other - exact).norm() / exact.norm()).item(),
}))
"""


def asked(**variables: str) -> dict[str, Any]:
    """Return what ASK prints in a fresh interpreter: torch reads variables when it is imported."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:torch", "-c", ASK],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
def test_float32_is_full_where_an_image_asks_for_tf32() -> None:
    """Older questions raise where they contradict newer ones, and Lightning and torch itself still ask them."""
    answer = asked(TORCH_ALLOW_TF32_CUBLAS_OVERRIDE="1")
    assert answer["before"] == "tf32", "the variable has no effect: the test shows nothing"
    assert set(answer["newer"]) == {"ieee"}
    assert answer["older"] == ["highest", False, False]
    assert answer["error"] < 1e-6


@pytest.mark.parametrize("name", runtime.FULL_FLOAT32)
def test_variable_that_torch_cannot_overrule_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN reads its own when torch is imported, and keeps to it whatever torch is told later."""
    rounded = "1" if name == "NVIDIA_TF32_OVERRIDE" else "BF16"
    monkeypatch.setenv(name, rounded)
    with pytest.raises(UserError, match=rf"^the environment sets {name}={rounded}, .*: unset it \(allowed: \w+\)$"):
        runtime.start(ON_CPU)
    monkeypatch.setenv(name, runtime.FULL_FLOAT32[name].lower())
    runtime.start(ON_CPU)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_scoring_and_training_use_one_device(device: Literal["cpu", "auto"]) -> None:
    """torch chooses the one, Lightning the other."""
    given = Runtime(device=device, threads=1)
    assert runtime.start_fabric(given, "32-true").device == runtime.start(given)


def test_machine_of_a_processor() -> None:
    found = runtime.machine(runtime.start(ON_CPU))
    assert list(found) == ["processor", "instruction set", "threads", *LIBRARIES]
    assert found["threads"] == 1 and found["torch"] == version("torch")
    assert all(found.values()), "a difference could not be shown"


def test_machine_of_a_gpu_is_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two is the same machine as the first, and the processor beside it decides nothing."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found, second = (runtime.machine(torch.device("cuda", index)) for index in (0, 1))
    assert found == second
    assert list(found) == ["GPU", "compute capability", "CUDA", "threads", *LIBRARIES]
    assert (found["GPU"], found["compute capability"], found["CUDA"]) == ("NVIDIA H100 80GB HBM3", "9.0", "13.0")
