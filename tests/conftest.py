"""What every test shares: one thread, no network, the reference data and the tiny model it was recorded on.

Libraries that take seconds to import are imported in the fixtures: where several processes share the tests, the one
that hands them out needs none.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: a test that asks the hub fails

import pytest

from tests.support.repository import REFERENCE, ROOT

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch import Tensor

    from swq.models.adapter import DecoderModel
    from tests.support.reference import Tensors

# A shell has what it starts in the background ignore interrupts, and so would every command that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("tests.support.recipes")  # so that a failed assertion in it shows its values

END_TO_END = ROOT / "tests" / "end_to_end"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The order of a sum depends on the number of threads."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Take back what a stage sets for its process."""
    import torch

    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of recorded values."""
    return REFERENCE


@pytest.fixture(scope="session")
def unit() -> Tensors:
    """The recorded quantizer and loss cases."""
    from tests.support.reference import read_reference

    return read_reference("unit")


@pytest.fixture(scope="session")
def calibration() -> Tensor:
    """The (8, 32) tokens that the recorded runs were calibrated on."""
    from tests.support.reference import read_reference

    return read_reference("calib")["calib_ids"]


@pytest.fixture(scope="session")
def fabric() -> Fabric:
    from lightning.fabric import Fabric

    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture
def tiny_llama() -> DecoderModel:
    """A fresh copy of the recorded runs' model."""
    from swq.models.adapter import DecoderModel

    return DecoderModel.load(REFERENCE / "models" / "tiny-llama")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what runs the pipeline, and put it last: a mistake that a fast test finds should not wait for it.

    Where several workers share the tests (`pytest -n`), it comes first instead: a file goes to a worker as a whole, and
    small files fill up what the large ones leave.
    """
    for item in items:
        if END_TO_END in item.path.parents:
            item.add_marker(pytest.mark.end_to_end)
    shared = hasattr(config, "workerinput")
    items.sort(key=lambda item: (item.get_closest_marker("end_to_end") is None) == shared)
