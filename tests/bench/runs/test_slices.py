"""Slices of a suite: the cells of a model or a scheme, and the mistakes in asking for them."""

from __future__ import annotations

import pytest

from bench.config.params import Params
from bench.runs.slices import select
from swq.errors import UserError
from tests.support import tiny_suite


@pytest.fixture
def params() -> Params:
    values = tiny_suite.params()
    values["cells"]["tiny-rtn-4"] = values["cells"]["tiny-rtn"] | {"scheme": "w4a16g32"}
    return Params.model_validate(values)


def test_slice_holds_full_precision_and_what_was_asked_for(params: Params) -> None:
    assert select(params) == list(params.cells)
    assert select(params, "tiny", "w4a16g32") == ["tiny-fp", "tiny-rtn-4"]
    assert "tiny-rtn-4" not in select(params, scheme="w3a16g32")


def test_slice_that_is_not_there_is_named(params: Params) -> None:
    with pytest.raises(UserError, match=r"unknown model 'tny'.*'tiny'"):
        select(params, "tny")
    with pytest.raises(UserError, match=r"unknown scheme 'w2a16'.*allowed: w3a16g32, w4a16g32"):
        select(params, scheme="w2a16")
