"""Results stay valid when a method gets a new setting, and only those whose recipe really changed do not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.collect import collect
from bench.analysis.results import load_results
from bench.config.params import Params, load_params
from bench.store.items import Item
from swq.methods import METHODS
from swq.methods.omniquant import OmniQuant
from tests.support import scores, tiny_suite

LATER = make_dataclass("OmniQuant", [("momentum", float, field(default=0.0))], bases=(OmniQuant,), frozen=True)

Edit = Callable[[dict[str, Any]], object]


def two_seeds() -> dict[str, Any]:
    """The tiny suite with a second seed of OmniQuant."""
    values = tiny_suite.params()
    values["cells"]["tiny-omniquant-s7"] = copy.deepcopy(tiny_suite.of_seed(values, "tiny-omniquant", 7))
    values["report"]["baselines"]["tiny-omniquant-s7"] = "tiny-rtn"
    return values


def read(edit: Edit = lambda _: None) -> Params:
    values = two_seeds()
    edit(values)
    tiny_suite.write_params(Path(), values)
    return load_params()


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The suite in the current folder, every cell scored; then OmniQuant is one with a new setting."""
    monkeypatch.chdir(tmp_path)
    params = read()
    for key in params.cells:
        scores.write_scores(params, key, [Item("piqa", 0, "h", 0, (-1.0, -2.0))])
    collect(params)
    monkeypatch.setitem(METHODS, "omniquant", LATER)
    return params


def identities(params: Params) -> dict[str, str]:
    return {key: params.identity(key) for key in params.cells}


def test_new_setting_at_its_default_leaves_every_result(before: Params) -> None:
    after = read()
    assert isinstance(after.cells["tiny-omniquant"].method, LATER)
    assert identities(after) == identities(before)
    assert after.seed_groups() == before.seed_groups()
    assert ("tiny-omniquant", "tiny-omniquant-s7") in after.seed_groups()
    assert load_results(after).keys() == before.cells.keys()


def test_new_setting_that_is_used_makes_another_cell(before: Params) -> None:
    after = read(lambda values: values["cells"]["tiny-omniquant"]["method"].update(momentum=0.9))
    changed = {key for key, given in identities(after).items() if given != before.identity(key)}
    assert changed == {"tiny-omniquant"}
    assert load_results(after).keys() == before.cells.keys() - changed
    assert ("tiny-omniquant",) in after.seed_groups() and ("tiny-omniquant-s7",) in after.seed_groups()


def test_default_that_is_written_down_is_the_default(before: Params) -> None:
    after = read(lambda values: values["cells"]["tiny-omniquant"]["method"].update(momentum=0.0, let=False))
    assert identities(after) == identities(before) and load_results(after).keys() == before.cells.keys()


def test_order_of_keys_does_not_matter(before: Params) -> None:
    def turned(value: Any) -> Any:
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    def turn_cells(values: dict[str, Any]) -> None:
        values["cells"] = {key: turned(cell) for key, cell in values["cells"].items()}

    after = read(turn_cells)
    assert identities(after) == identities(before) and after.seed_groups() == before.seed_groups()
    assert load_results(after).keys() == before.cells.keys()
