"""SW's share of loss and gradient, as a table says it."""

from __future__ import annotations

from bench.analysis.results import CellResult
from bench.analysis.rows import Measured, Row
from bench.config.params import Params
from bench.report.tables.sw_share import sw_share_table
from tests.support import tiny_suite


def test_shares_are_means_over_seeds_of_the_last_epoch() -> None:
    params = Params.model_validate(tiny_suite.params())
    key = "tiny-omniquant-sw"

    def losses(block: int, sw: float) -> list[dict[str, float]]:
        """Two epochs: in the first one the gradient's shares were not measured."""
        first = {"block": block, "loss": 9.0, "mse": 1.0, "sw": 8.0}
        last = {"block": block, "loss": 2.0, "mse": 2.0 - sw, "sw": sw, "mse_grad_share": 0.9, "sw_grad_share": sw / 4}
        return [first, last]

    def row(key: str, *seeds: list[dict[str, float]]) -> Row:
        results = [CellResult(key, {}, [], {}, found, None, 1.0, 1, {}) for found in seeds]
        return Row((key,), key, params.cells[key], key, None, results, None, {})

    seeds = ((0.2, 0.1, 3e-6), (0.4, 0.1, 0))
    first, second = ([epoch for block, sw in enumerate(seed) for epoch in losses(block, sw)] for seed in seeds)
    plain = [{"block": 0, "loss": 1.0, "mse": 1.0}]
    rows = [row(key, first, second), row("tiny-omniquant", plain), row("tiny-rtn", []), row("tiny-fp")]
    table = sw_share_table(Measured(params, {}, rows))
    assert [line[-6:] for line in table.rows] == [["15", "5", "< 0.0001", "7.5", "2.5", "< 0.0001"]]
