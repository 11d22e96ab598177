"""What every test shares: one thread, no network, the reference data and the tiny model it was recorded on."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: a test that asks the hub fails

import pytest
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor

from swq.models.adapter import DecoderModel

pytest.register_assert_rewrite("tests.recipes")  # so that a failed assertion in it shows its values
torch.set_num_threads(1)  # the order of a sum depends on the number of threads

REFERENCE = Path(__file__).parent / "reference"

Tensors = dict[str, Tensor]


@functools.cache
def read_reference(name: str) -> Tensors:
    """Return one file of the reference folder; read once, so a test must not change the tensors."""
    return load_file(REFERENCE / f"{name}.safetensors")


@functools.cache
def read_meta() -> dict[str, Any]:
    """Return the settings and the losses that go with the reference tensors."""
    return json.loads((REFERENCE / "meta.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of recorded values."""
    return REFERENCE


@pytest.fixture(scope="session")
def unit() -> Tensors:
    """The recorded quantizer and loss cases."""
    return read_reference("unit")


@pytest.fixture(scope="session")
def calibration() -> Tensor:
    """The (8, 32) tokens that the recorded runs were calibrated on."""
    return read_reference("calib")["calib_ids"]


@pytest.fixture(scope="session")
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture
def tiny_llama() -> DecoderModel:
    """A fresh copy of the recorded runs' model."""
    return DecoderModel.load(REFERENCE / "models" / "tiny-llama")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the pipeline's test last: a mistake that a fast test finds should not wait for it."""
    items.sort(key=lambda item: item.path.name == "test_pipeline.py")
