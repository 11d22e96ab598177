"""Slices of a suite: the cells of a model, scheme, method or seed, and the mistakes in asking for them."""

from __future__ import annotations

import pytest

from bench.config.params import Params
from bench.runs.slices import Slice, select
from swq.errors import UserError
from tests.support import tiny_suite


@pytest.fixture
def params() -> Params:
    values = tiny_suite.params()
    values["cells"]["tiny-rtn-4"] = values["cells"]["tiny-rtn"] | {"scheme": "w4a16g32"}
    values["cells"]["tiny-tesseraq-s7"] = values["cells"]["tiny-tesseraq-sw"] | {"seed": 7}
    del values["report"]["baselines"]["tiny-tesseraq-sw"]  # or the other seed would need a base of its own
    return Params.model_validate(values)


def test_slice_holds_full_precision_and_what_was_asked_for(params: Params) -> None:
    assert select(params) == list(params.cells)
    assert select(params, Slice("tiny", "w4a16g32")) == ["tiny-fp", "tiny-rtn-4"]
    assert select(params, Slice(method="rtn")) == ["tiny-fp", "tiny-rtn", "tiny-rtn-4"]
    assert select(params, Slice(method="tesseraq", seed=7)) == ["tiny-fp", "tiny-tesseraq-s7"]
    assert select(params, Slice(method="fp")) == ["tiny-fp"]
    assert "tiny-rtn-4" not in select(params, Slice(scheme="w3a16g32"))


def test_named_cells_come_alone(params: Params) -> None:
    assert select(params, Slice(cells=["tiny-tesseraq-s7", "tiny-rtn"])) == ["tiny-rtn", "tiny-tesseraq-s7"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Slice("tny"), r"unknown model 'tny'.*'tiny'"),
        (Slice(scheme="w2a16"), r"unknown scheme 'w2a16'.*allowed: w3a16g32, w4a16g32"),
        (Slice(method="rtm"), r"unknown method 'rtm'; did you mean 'rtn'"),
        (Slice(seed=3), r"unknown seed '3'.*7"),
        (Slice(cells=["tiny-rtm"]), r"unknown cell 'tiny-rtm'; did you mean 'tiny-rtn'"),
        (Slice(scheme="w4a16g32", seed=7), r"^no cell of this suite has all that was asked for"),
    ],
)
def test_slice_that_is_not_there_is_named(params: Params, part: Slice, said: str) -> None:
    with pytest.raises(UserError, match=said):
        select(params, part)
