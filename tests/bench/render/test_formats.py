"""Tables in every format, and a page that needs no network."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt

from bench.render.image import Image
from bench.render.pages import html_page
from bench.render.table import Table

TABLE = Table([["A & B", "12.60", "5.0 [0.0, 25.0]"], ["<C>", "", "n/a"]], ["cell", "ppl", "of accuracy, %"], left=1)


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
    text = html_page("Suite <x>", parts)
    assert "<h1>Suite <code>x</code></h1>" in text and "<b>Bold</b> &amp; &lt;plain&gt;" in text
    assert "&lt;C&gt;" in text and "<title>Suite &lt;x&gt;</title>" in text
    assert 'alt="A &amp; B"' in text
    assert text.index("</table>") < text.index("data:image/png;base64,") < text.index("<h2>More</h2>")
    assert not re.search(r"(?:src|href)=(?![\"']?data:)", text) and "<script" not in text
