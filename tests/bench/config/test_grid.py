"""A grid of cells, and the mistakes in it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.config.compose import composed
from bench.config.grid import expand
from bench.config.params import Params
from bench.config.strict import parse_section
from swq.errors import UserError
from tests.support.repository import ROOT

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


def test_seeds_make_cells_of_one_row() -> None:
    """Each seed against its own base; against a base without seeds all of them."""
    rtn = {"calibration": "c-1", "method": {"name": "rtn"}}
    trained = {"calibration": "c-{seed}", "method": {"name": "omniquant"}, "loss": {"weights": {"mse": 1.0}}}
    grid = [
        {"models": ["m"], "schemes": ["w2a16"], "rows": {"rtn": rtn}},
        {
            "models": ["m"],
            "schemes": ["w2a16"],
            "seeds": [1, 20],
            "rows": {"oq": trained | {"base": "rtn"}, "oq-sw": trained | {"base": "oq"}},
        },
    ]
    cells, baselines = expand("s", grid)
    assert list(cells) == [f"s-m-w2a16-{row}" for row in ("rtn", "oq-s1", "oq-s20", "oq-sw-s1", "oq-sw-s20")]
    assert [(cells[f"s-m-w2a16-oq-s{n}"]["seed"], cells[f"s-m-w2a16-oq-s{n}"]["calibration"]) for n in (1, 20)] == [
        (1, "c-1"),
        (20, "c-20"),
    ]
    assert baselines == {f"s-m-w2a16-oq-s{n}": "s-m-w2a16-rtn" for n in (1, 20)} | {
        f"s-m-w2a16-oq-sw-s{n}": f"s-m-w2a16-oq-s{n}" for n in (1, 20)
    }


def test_committed_smollm2_suite_is_two_schemes_two_methods_and_five_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = parse_section(Params, composed("smollm2"), "conf/")
    rows = [keys for keys in params.seed_groups() if len(keys) > 1]
    assert [len(keys) for keys in rows] == [5] * 8 and params.protocol.limit is None
    for keys in rows:
        cells = [params.cells[key] for key in keys]
        assert len({cell.seed for cell in cells}) == len({cell.calibration for cell in cells}) == 5
        assert all(params.calibrations[cell.calibration].seed == cell.seed for cell in cells)
        with_sw = cells[0].loss is not None and "sw" in cells[0].loss.weights
        assert len({params.report.baselines[key] for key in keys}) == (5 if with_sw else 1)
    schemes = {str(params.cells[keys[0]].scheme) for keys in rows}
    assert len(schemes) == 2 and any(scheme.startswith("w2") for scheme in schemes)


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ([{"models": ["a"]}], "grid.0: must be a mapping with models, rows"),
        ([{"models": ["a"], "rows": {}, "shemes": []}], "grid.0: must be a mapping"),
        ([{"models": ["a"], "rows": ["fp"]}], "grid.0.rows: must map"),
        ([{"models": ["a"], "rows": {"x": {"base": "y"}}}], "grid.0.rows.x: base 'y' is not a row"),
        (
            [{"models": ["a"], "rows": {"x": {"calibration": "{modl}"}}}],
            r"grid.0.rows.x: .*modl.* does not fill \(allowed: \{model\}\)",
        ),
        ([{"models": ["a"], "rows": {}, "seeds": 3}], r"grid.0.seeds: must be a list such as \[1, 2, 3\] \(given: 3\)"),
        (
            [{"models": ["a"], "rows": {}, "schemes": "w4a16"}],
            r"grid.0.schemes: must be a list such as .*given: 'w4a16'",
        ),
        ([{"models": [3], "rows": {}}], r"grid.0.models: must be a list such as \[my-model\] \(given: \[3\]\)"),
        ([{"models": ["a"], "seeds": [], "rows": {}}], r"grid.0.seeds: .*given: \[\]"),
        ([{"models": ["a"], "rows": {"x": {"base": ["y"]}}}], "grid.0.rows.x: a row's name and its base must be text"),
        ([{"models": ["a"], "rows": {"x": {"calibration": "c{seed}"}}}], "does not fill"),
        ([{"models": ["a"], "seeds": [1], "rows": {"x": {"seed": 3}}}], "seed is set by the part's seeds"),
        (GRID + GRID[:1], "grid.2: cell s-a-fp is already defined"),
    ],
)
def test_mistake_in_a_grid_is_named(grid: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        expand("s", grid)
