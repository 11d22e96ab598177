"""README, CONTRIBUTING and docs/ hold what the repository holds: results, links, citations.

Two comments in a page tie its numbers to files. A table of a suite's results stands between

    <!-- results/SUITE/table.md, made by `COMMAND` -->
    <!-- table -->
    <!-- end of table -->

and figures quoted in prose are listed below it, each with the place that it is from:

    <!-- numbers: results/SUITE/metrics.json
    52.9 % [49.5, 55.9] = key/of/the/value
    -->

In a JSON or YAML file the place is a path of keys (`#` counts them); a share in JSON is a fraction. In a table.md it is
what stands in the row, then the column, all set apart by ` | `; `median#2` is the second column called median.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.pages import PAGES, README, per_page, tables
from tests.support.repository import ROOT

# The README's length


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1300


def test_every_page_is_listed() -> None:
    pages = {Path(name).name for name in PAGES if name.startswith("docs/")} - {"README.md"}
    assert set(re.findall(r"\]\((\w[\w-]*\.md)\)", PAGES["docs/README.md"])) == pages


# Links and paths


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower().strip()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        taken = found.count(anchor)
        found.append(f"{anchor}-{taken}" if taken else anchor)
    return set(found)


@pytest.mark.parametrize(("page", "target"), per_page(r"\]\((?!https?:)([^)\s]+)\)"))
def test_links_lead_somewhere(page: str, target: str) -> None:
    place, _, anchor = target.partition("#")
    path = (ROOT / page).parent / place if place else ROOT / page
    assert path.exists()
    if anchor:
        assert anchor in anchors(path.read_text(encoding="utf-8"))


# Not those with a name that the reader fills in.
NAMED = r"`((?:bench|benchmarks|conf|docs|results|swq|tests)/(?![^`]*(?:[A-Z]|mine))[\w./-]*)`"


@pytest.mark.parametrize(("page", "path"), sorted(set(per_page(NAMED))))
def test_files_that_are_named_exist(page: str, path: str) -> None:
    assert (ROOT / path).exists()


# Numbers

SHOWN = per_page(
    r"<!-- results/(\w+)/table\.md,[^\n]*-->\n<!-- table -->\n(.*?)<!-- end of table -->", re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize(("page", "suite", "shown"), SHOWN, ids=[f"{page}-{suite}" for page, suite, _ in SHOWN])
def test_tables_are_those_of_the_committed_results(page: str, suite: str, shown: str) -> None:
    committed = tables((ROOT / f"results/{suite}/table.md").read_text(encoding="utf-8"))
    assert tables(shown) == [table for table in committed if table in tables(shown)] != []


def test_the_answers_and_what_the_command_prints_are_shown() -> None:
    assert [(page, suite, len(tables(shown))) for page, suite, shown in SHOWN] == [
        ("docs/reading-a-report.md", "bundled", 3),
        ("docs/results.md", "smollm2", 1),
        ("docs/results.md", "smollm2", 1),
    ]
    for page, suite, shown in SHOWN[:2]:
        first = tables((ROOT / f"results/{suite}/table.md").read_text(encoding="utf-8"))[0]
        assert first in shown, f"{page} begins with suite {suite}'s answer"


def test_the_readmes_answer_is_that_of_the_results() -> None:
    rows = tables((ROOT / "results/smollm2/table.md").read_text(encoding="utf-8"))[0].splitlines()[2:]
    answers = [cell.strip() for row in rows for cell in row.strip("|").split("|")[3:]]
    assert "all twelve comparisons" in README and "All twelve comparisons are open" in PAGES["docs/results.md"]
    assert len(answers) == 12 and all(answer.startswith("open") for answer in answers)


def quoted() -> list[tuple[str, str, str, str, str]]:
    """Return page, text of the section before the comment, file, quoted figure and its place."""
    found = []
    for page, text in PAGES.items():
        for comment in re.finditer(r"<!-- numbers: (\S+)\n(.*?)-->", text, re.DOTALL):
            section = re.split(r"^#+ ", text[: comment.start()], flags=re.MULTILINE)[-1]
            for line in comment[2].splitlines():
                figure, place = line.split(" = ", 1)
                found.append((page, " ".join(section.split()), comment[1], figure, place))
    return found


def numbers(text: str) -> list[str]:
    """Return the numbers in a text, without the commas between thousands."""
    return re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", text))


@cache
def loaded(file: str) -> Any:
    text = (ROOT / file).read_text(encoding="utf-8")
    read = {".md": tables, ".yaml": yaml.safe_load, ".json": json.loads}
    return read[Path(file).suffix](text)


def at(values: Any, place: str) -> list[float]:
    """Return the numbers that stand at a path of keys: one, the three of a share with its interval, or a list's."""
    for key in place.split("/"):
        if key == "#":
            return [len(values)]
        values = values[int(key)] if isinstance(values, list) else values[key]
    if isinstance(values, dict):
        return [values[name] for name in ("point", "low", "high")]
    return values if isinstance(values, list) else [values]


def in_tables(all_tables: list[str], place: str) -> list[float]:
    """Return the numbers in the one cell of a page's tables that has this row and this column."""
    *row, column = place.split(" | ")
    name, _, nth = column.partition("#")
    found = []
    for table in all_tables:
        header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        places = [i for i, given in enumerate(header) if given == name]
        if len(places) >= int(nth or 1):
            found += [cells[places[int(nth or 1) - 1]] for cells in body if set(row) <= set(cells)]
    assert len(found) == 1, f"{place!r} is in {len(found)} rows"
    return [float(number) for number in numbers(found[0])[:1]]


QUOTED = quoted()


@pytest.mark.parametrize(
    ("page", "section", "file", "figure", "place"), QUOTED, ids=[f"{page}-{figure}" for page, _, _, figure, _ in QUOTED]
)
def test_figures_in_prose_are_those_of_the_results(page: str, section: str, file: str, figure: str, place: str) -> None:
    assert figure in section, f"{page} lists {figure} below a section that does not say it"
    held = in_tables(loaded(file), place) if file.endswith(".md") else at(loaded(file), place)
    if file.endswith(".json") and ("%" in figure or len(held) == 3):
        held = [100 * value for value in held]
    said = numbers(figure)
    assert said == [f"{value:.{len(text.partition('.')[2])}f}" for value, text in zip(held, said, strict=True)]


def test_committed_results_are_whole() -> None:
    metrics = json.loads((ROOT / "results/bundled/cells.json").read_text(encoding="utf-8"))
    cells = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["cells"]
    assert list(metrics) == list(cells)
    assert all(min(cell["perplexity"].values()) > 0 and len(cell["tasks"]) == 5 for cell in metrics.values())


# What is to be cited


def test_the_citation_is_whole() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "type", "license", "version", "references"} <= set(citation)
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "2601.07878" in str(citation["references"]) and "2601.07878" in README


def test_the_changelog_begins_with_what_is_not_released() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", changelog, re.MULTILINE)[0] == "Unreleased"


LISTED = re.findall(
    r"^\| \[(\w+)\]\(.*\|\s*([\w, ]*?)\s*\|$", (ROOT / "results/README.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize(("suite", "commits"), LISTED)
def test_results_say_which_commits_made_them(suite: str, commits: str) -> None:
    records = json.loads((ROOT / f"results/{suite}/provenance.json").read_text(encoding="utf-8"))
    made_at = {record["provenance"]["git_commit"][:7] for cell in records.values() for record in cell.values()}
    assert made_at == set(filter(None, commits.split(", ")))
    assert all(record["provenance"]["git_clean"] for cell in records.values() for record in cell.values())


def test_every_suites_results_are_listed() -> None:
    assert {suite for suite, _ in LISTED} == {path.name for path in (ROOT / "results").iterdir() if path.is_dir()}
