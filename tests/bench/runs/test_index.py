"""The page over all suites: it is that of the committed results, and counts answers as reports give them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.report.tables.answers import NO_EFFECT
from bench.runs.index import write_index
from swq.errors import UserError
from tests.support.repository import ROOT

READ = ("provenance.json", "recovered.csv", "metrics.json", "raw/*")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the page is made from."""
    for file in (file for pattern in READ for file in ROOT.glob(f"results/*/{pattern}")):
        (tmp_path / file.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / file.relative_to(ROOT))
    shutil.copy(ROOT / "results/made_by.yaml", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def test_the_committed_page_is_that_of_the_committed_results(results: Path) -> None:
    write_index()
    for name in ("README.md", "index.html"):
        assert (results / name).read_text() == (ROOT / "results" / name).read_text(), "run `python -m bench index`"


def test_every_suite_is_there_and_links_to_its_page(results: Path) -> None:
    write_index()
    for suite in (path.name for path in results.iterdir() if path.is_dir()):
        assert f"[{suite}]({suite}/table.md)" in (results / "README.md").read_text()
        assert f'<a href="{suite}/report.html">{suite}</a>' in (results / "index.html").read_text()


def test_answers_are_counted_and_few_seeds_decide_nothing(results: Path) -> None:
    path = results / "smollm2/recovered.csv"
    header, *rows = path.read_text().splitlines()
    place = header.split(",").index("share_low")
    first = next(i for i, row in enumerate(rows) if ",OmniQuant + SW," in row and ",log_perplexity," in row)
    fields = rows[first].split(",")
    fields[place - 1 : place + 2] = ["0.2", "0.1", "0.3"]
    rows[first] = ",".join(fields)
    path.write_text("\n".join([header, *rows]) + "\n")
    write_index()
    line = next(line for line in (results / "README.md").read_text().splitlines() if line.startswith("| [smollm2]"))
    assert "1 helps, 3 open" in line
    path.write_text("\n".join([header, *(row.removesuffix(",5") + ",4" for row in rows)]) + "\n")
    write_index()
    line = next(line for line in (results / "README.md").read_text().splitlines() if line.startswith("| [smollm2]"))
    assert line.count("4 provisional") == 2 and "helps" not in line


def test_pooled_answers_stand_beside_those_of_the_rows(results: Path) -> None:
    path = results / "methods/metrics.json"
    metrics = json.loads(path.read_text())
    for seeds, word in ((5, NO_EFFECT), (4, "provisional")):
        metrics["methods-pooled"]["seeds"] = seeds
        beyond = {"omniquant-scaled": {"seeds": seeds, "answers": {"log_perplexity": "open", "divergence": "open"}}}
        metrics["methods-pooled"]["beyond_placebo"] = beyond
        path.write_text(json.dumps(metrics))
        write_index()
        line = next(line for line in (results / "README.md").read_text().splitlines() if line.startswith("| [methods]"))
        decided = "open" if seeds == 5 else word
        assert f"; pooled: {word}; beyond omniquant-scaled: {decided} " in line and "divergence" not in line
    assert "pooled:" not in (results / "README.md").read_text().replace(line, "")


def test_a_suite_without_results_is_named(results: Path) -> None:
    shutil.rmtree(results / "opt")
    with pytest.raises(UserError, match=r"results/opt/provenance\.json"):
        write_index()
