"""A grid of cells, the slices of it, and the mistakes in either."""

from __future__ import annotations

from typing import Any

import pytest

from bench.config import Params
from bench.grid import expand
from bench.slices import select
from swq.errors import UserError
from tests import tiny_suite

GRID = [
    {"models": ["a", "b"], "rows": {"fp": {"calibration": "{model}-c", "method": {"name": "fp"}}}},
    {
        "models": ["b", "a"],
        "schemes": ["w2a16", "w3a16g64"],
        "rows": {
            "rtn": {"calibration": "{model}-c", "method": {"name": "rtn"}},
            "awq": {"calibration": "{model}-{scheme}", "method": {"name": "awq"}, "base": "rtn"},
        },
    },
]


def test_grid_crosses_models_schemes_and_rows() -> None:
    cells, baselines = expand("s", GRID)
    assert list(cells) == [
        f"s-{model}-{row}" for model in "ab" for row in ("fp", "w2a16-rtn", "w2a16-awq", "w3a16g64-rtn", "w3a16g64-awq")
    ]
    assert cells["s-b-w2a16-awq"] == {
        "model": "b",
        "calibration": "b-w2a16",
        "method": {"name": "awq"},
        "scheme": "w2a16",
    }
    assert cells["s-a-fp"] == {"model": "a", "calibration": "a-c", "method": {"name": "fp"}}
    assert baselines == {f"s-{m}-{scheme}-awq": f"s-{m}-{scheme}-rtn" for m in "ba" for scheme in ("w2a16", "w3a16g64")}


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ([{"models": ["a"]}], "grid.0: must be a mapping with models, rows"),
        ([{"models": ["a"], "rows": {}, "shemes": []}], "grid.0: must be a mapping"),
        ([{"models": ["a"], "rows": ["fp"]}], "grid.0.rows: must map"),
        ([{"models": ["a"], "rows": {"x": {"base": "y"}}}], "grid.0.rows.x: base 'y' is no row"),
        (
            [{"models": ["a"], "rows": {"x": {"calibration": "{modl}"}}}],
            "another placeholder than {model} and {scheme}",
        ),
        ([{"models": ["a"], "rows": {}, "schemes": "w4a16"}], r"grid.0.schemes: must be a list, such as \[w4a16\]"),
        (GRID + GRID[:1], "grid.2: cell s-a-fp is there already"),
    ],
)
def test_mistake_in_a_grid_is_named(grid: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand("s", grid)


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
