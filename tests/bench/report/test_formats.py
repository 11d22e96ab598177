"""The tables in every format, and a page that needs no network."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from bench.answers import answer
from bench.config import Params
from bench.html import page
from bench.image import Image
from bench.results import CellResult
from bench.rows import Row
from bench.statistics import NOTHING_LOST, Interval, McNemar, Recovery
from bench.table import Table
from bench.tidy import changed_csv, quality_csv, recovered_csv
from tests import tiny_suite

TABLE = Table([["A & B", "12.60", "5.0 [0.0, 25.0]"], ["<C>", "", "n/a"]], ["cell", "ppl", "of accuracy, %"], left=1)


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


def test_latex_is_escaped_and_aligned() -> None:
    text = TABLE.latex()
    assert r"A \& B" in text and r"of accuracy, \%" in text and r"\begin{tabular}{lrr}" in text and r"\toprule" in text


def test_markdown_keeps_numbers_as_they_were_written() -> None:
    assert "| A & B  | 12.60 |  5.0 [0.0, 25.0] |" in TABLE.markdown()


def test_html_is_whole_escaped_and_needs_nothing_else(tmp_path: Path) -> None:
    figure, axes = plt.subplots()
    axes.plot([0, 1])
    figure.savefig(tmp_path / "plot.png")
    parts = ["# Suite `x`", "**Bold** & <plain>", TABLE, Image(tmp_path / "plot.png", "A & B"), "## More", "`code`"]
    text = page("Suite <x>", parts)
    assert "<h1>Suite <code>x</code></h1>" in text and "<b>Bold</b> &amp; &lt;plain&gt;" in text
    assert "&lt;C&gt;" in text and "<title>Suite &lt;x&gt;</title>" in text
    assert 'alt="A &amp; B"' in text
    assert text.index("</table>") < text.index("data:image/png;base64,") < text.index("<h2>More</h2>")
    assert not re.search(r"(?:src|href)=(?![\"']?data:)", text) and "<script" not in text


@pytest.mark.parametrize(
    ("low", "high", "n_seeds", "said"),
    [
        (0.01, 0.2, 5, "helps"),
        (-0.2, -0.01, 5, "hurts"),
        (-0.1, 0.1, 5, "open"),
        (0.0, 0.0, 5, "open"),
        (0.01, 0.2, 4, "better with these seeds"),
        (-0.2, -0.01, 1, "worse with this seed"),
    ],
)
def test_answer_is_what_the_interval_says(low: float, high: float, n_seeds: int, said: str) -> None:
    share, other = Interval((low + high) / 2, low, high), Interval(0.0, -1.0, 1.0)
    assert answer(Recovery(other, other, share, None, 10, n_seeds)) == said
    assert answer(Recovery(other, share, None, NOTHING_LOST, 10, n_seeds)) == said, "of what was gained"
    assert answer(Recovery(other, share, None, "too few items differ (4)", 10, n_seeds)) == "open"
