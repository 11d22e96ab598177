"""What the plots show: lines of what differs in one thing alone, and files that are the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.analysis.results import CellResult
from bench.analysis.rows import Measured, Row
from bench.config.cell import Cell
from bench.config.params import Params
from bench.report.plots import PLOTS
from bench.report.plots.files import draw
from bench.report.plots.sensitivity import by_projections, by_weight
from tests.support import tiny_suite

COMPARISONS = {"effect", "recovered", "by_task"}
WEIGHTS = (0.0, 0.1, 0.5)


def cell(weights: dict[str, float], **loss: Any) -> Cell:
    values = tiny_suite.params()["cells"]["tiny-omniquant"] | {"loss": {"weights": weights} | loss}
    return Cell.model_validate(values)


def row(name: str, cell: Cell) -> Row:
    """A row whose perplexity, accuracy and margin are those of one seed, made up."""
    tasks = {task: {"acc": 0.5, "margin": -1.0, "n_items": 2} for task in tiny_suite.params()["protocol"]["tasks"]}
    summary = {"perplexity": {"perplexity": 20.0}, "tasks": tasks, "diverged": False}
    shares = {"mse_grad_share": 0.75, "sw_grad_share": 0.25}
    losses = [{"block": block, "epoch": 0, "loss": 2.0, "mse": 1.5, "sw": 0.5} | shares for block in (0, 1)]
    result = CellResult(name, summary, [], {}, losses if cell.loss else [], 3.5, 1.0, 1, {})
    return Row((name,), name, cell, name, None, [result], None, {})


@pytest.fixture
def rows() -> list[Row]:
    """Three weights of SW, two of them with several numbers of projections, one normalised, one of another scheme."""
    cells = {f"w{weight}": cell({"mse": 1 - weight, "sw": weight}, n_projections=16) for weight in WEIGHTS[1:]}
    cells |= {"plain": cell({"mse": 1.0}), "k64": cell({"mse": 0.5, "sw": 0.5}, n_projections=64)}
    cells |= {"normalised": cell({"mse": 0.5, "sw": 0.5}, n_projections=16, normalised=True)}
    other = cell({"mse": 0.9, "sw": 0.1}, n_projections=64).model_copy(update={"precision": "bf16-mixed"})
    return [row(name, one) for name, one in (cells | {"other": other}).items()]


def test_weights_make_a_line_from_the_row_without_sw(rows: list[Row]) -> None:
    ((name, line),) = by_weight(rows).items()
    assert name == "OmniQuant + SW w3a16g32, K = 16, unscaled", "not what the row without SW says"
    assert {share: found.label for share, found in line.items()} == {0.0: "plain", 0.1: "w0.1", 0.5: "w0.5"}


def test_projections_make_a_line_of_rows_that_share_their_weights(rows: list[Row]) -> None:
    ((name, line),) = by_projections(rows).items()
    assert name == "OmniQuant + SW w3a16g32, 0.5 SW, unscaled"
    assert {k: found.label for k, found in line.items()} == {16: "w0.5", 64: "k64"}


@pytest.mark.slow
def test_nothing_to_show_draws_nothing(rows: list[Row], tmp_path: Path) -> None:
    params = Params.model_validate(tiny_suite.params())
    assert set(draw(tmp_path, Measured(params, {}, []))) == set() and not list(tmp_path.iterdir())
    assert set(draw(tmp_path, Measured(params, {}, rows[:1]))) == {"bits", "losses"}, "one weight is no sensitivity"


@pytest.mark.slow
def test_same_numbers_give_the_same_bytes(rows: list[Row], tmp_path: Path) -> None:
    params = Params.model_validate(tiny_suite.params())
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
        assert set(draw(folder, Measured(params, {}, rows))) == set(PLOTS) - COMPARISONS
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(f"{plot}.{form}" for plot in set(PLOTS) - COMPARISONS for form in ("png", "svg"))
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names)
