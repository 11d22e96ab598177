"""The numbers behind the tables, for other programs."""

from __future__ import annotations

import csv
import io

from bench.analysis.recovery import Interval, McNemar, Recovery
from bench.analysis.results import CellResult
from bench.analysis.rows import Row
from bench.config.params import Params
from bench.report.numbers import changed_csv, quality_csv, recovered_csv, row_metrics
from bench.report.tables.columns import MEDIANS, by_medians, show_share
from tests.support import tiny_suite


def test_csv_holds_numbers_and_nothing_else() -> None:
    params = Params.model_validate(tiny_suite.params())
    share = Recovery(Interval(0.2, 0.1, 0.3), Interval(0.02, -0.01, 0.05), Interval(0.1, -0.05, 0.25), None, 500, 5)
    withheld = Recovery(Interval(0.0, -0.1, 0.1), Interval(0.0, 0.0, 0.0), None, "nothing clearly lost", 500, 5)
    tasks = {task: {"acc": 0.5, "margin": -1.0, "n_items": 2} for task in params.protocol.tasks}
    summary = {"perplexity": {"perplexity": 20.25}, "tasks": tasks, "diverged": False}
    result = CellResult("k", summary, [], {}, [], 3.5, 1.0, 1, {})
    cell = params.cells["tiny-omniquant-sw"]
    row = Row(
        ("k",), "k", cell, "A, B", "C", [result], {"accuracy": share, "margin": withheld}, {"all": McNemar(3, 1, 0.625)}
    )
    missing = Row(("m",), "m", cell, "M", None, [], None, {})

    quality = list(csv.DictReader(io.StringIO(quality_csv(params, [row, missing]))))
    assert [line["perplexity_perplexity"] for line in quality] == ["20.25", ""]
    assert quality[0]["acc_mean"] == "0.5" and quality[0]["margin"] == "-1.0" and quality[0]["cell"] == "A, B"
    recovered = list(csv.DictReader(io.StringIO(recovered_csv([row, missing]))))
    assert [(line["measure"], line["share"], line["share_low"]) for line in recovered] == [
        ("accuracy", "0.1", "-0.05"),
        ("margin", "", ""),
    ]
    assert recovered[1]["withheld"] == "nothing clearly lost" and recovered[0]["n_seeds"] == "5"
    (changed,) = csv.DictReader(io.StringIO(changed_csv([row, missing])))
    assert (changed["better"], changed["worse"], changed["p"], changed["base"]) == ("3", "1", "0.625", "C")
    assert quality_csv(params, []) == ""


def test_share_by_medians_is_marked_wherever_it_stands() -> None:
    """Windows that collapse must not pass for a mean, in a table, in CSV or in JSON."""
    params = Params.model_validate(tiny_suite.params())
    interval = Interval(0.1, 0.05, 0.15)
    found = {medians: Recovery(interval, interval, interval, None, 8, 5, medians) for medians in (False, True)}
    cell = params.cells["tiny-omniquant-sw"]
    calm, broken = (
        Row(("k",), "k", cell, "A", "C", [], {"log_perplexity": found[medians]}, {}) for medians in (False, True)
    )
    names = [line["measure"] for line in csv.DictReader(io.StringIO(recovered_csv([calm, broken])))]
    assert names == ["log_perplexity", "log_perplexity_median"]
    assert [list(row_metrics(params, row)["recovered"]) for row in (calm, broken)] == [[name] for name in names]
    shown = [show_share(row.recovered or {}, "log_perplexity") for row in (calm, broken)]
    assert shown == ["10.0 [5.0, 15.0]", f"10.0 [5.0, 15.0] {MEDIANS}"]
    assert by_medians([calm]) == "" and MEDIANS in by_medians([calm, broken])
