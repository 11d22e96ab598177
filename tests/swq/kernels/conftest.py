"""Both kinds of kernels, and several numbers of threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from swq.kernels import choose, native

NO_COMPILER = native.build() is None


@pytest.fixture(params=[choose.PLAIN, choose.COMPILED])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Use one kind, and go back to the plain one."""
    if request.param == choose.COMPILED and NO_COMPILER:
        pytest.skip("no gcc")
    native.use(native.build() if request.param == choose.COMPILED else None)
    yield
    native.use(None)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)
