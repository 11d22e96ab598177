"""README, CONTRIBUTING and docs/ hold what the repository holds: results, links, commands, configuration, code.

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
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from bench.__main__ import app
from bench.config.cell import Cell
from bench.config.compose import composed
from bench.config.preset import with_preset
from swq.losses import TERMS
from swq.methods import METHODS
from tests.support.repository import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "results/README.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
README = PAGES["README.md"]
EVERYTHING = "\n".join(PAGES.values())


def per_page(pattern: str, flags: re.RegexFlag = re.MULTILINE) -> list[tuple[Any, ...]]:
    """Return what a pattern finds in each page, with the page's name before it."""
    found = [(name, match) for name, text in PAGES.items() for match in re.findall(pattern, text, flags)]
    return [(name, *match) if isinstance(match, tuple) else (name, match) for name, match in found]


def tables(text: str) -> list[str]:
    """Return the Markdown tables in a text."""
    return re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)


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


# Commands

BLOCKS = per_page(r"```sh\n(.*?)```", re.MULTILINE | re.DOTALL)
INLINE = per_page(r"`((?:python -m bench|make |dvc |python benchmarks/)[^`]*)`")
COMMANDS = sorted(
    {
        (page, command.strip())
        for page, block in BLOCKS + INLINE
        for line in block.splitlines()
        for command in line.split(" #")[0].split("&&")
        if command.strip()
    }
)
BENCH = typer.main.get_command(app)
SUITES = {path.stem for path in (ROOT / "conf/suite").glob("*.yaml")}


def check_bench(words: list[str]) -> None:
    """Parse arguments of `python -m bench` as the command line would, without running anything."""
    if not words or words == ["--help"]:
        return
    name, *arguments = words
    assert name in BENCH.commands, f"python -m bench has no command {name}"
    given = {"MODEL": "llama-2-7b", "SCHEME": "w2a16g64"}
    if BENCH.commands[name].params or arguments:
        needed = [p for p in BENCH.commands[name].params if p.required and p.param_type_name == "argument"]
        if arguments or not needed:
            BENCH.commands[name].make_context(name, [given.get(word, word) for word in arguments])
    if name == "compose" and arguments:
        assert arguments[0] in SUITES | {"mine", "SUITE", "NAME"}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_exist(page: str, command: str) -> None:
    match shlex.split(command):
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) for target in targets)
        case ["python", "-m", "bench", *words]:
            check_bench(words)
        case ["python", script, *_]:
            assert script.startswith("benchmarks/") and (ROOT / script).is_file()
        case ["dvc", "repro", *words]:
            stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
            assert all(word.split("@")[0] in stages for word in words if not word.startswith("-"))
        case ["dvc", name, *_]:
            assert name in ("dag", "metrics", "plots")
        case ["$EDITOR", file]:
            assert (ROOT / file).is_file()
        case ["source", file]:
            assert file == ".venv/bin/activate"
        case words:
            pytest.fail(f"{page} names {words}, of which this test knows nothing")


COMPOSED = sorted({c for _, c in COMMANDS if re.match(r"python -m bench compose (?!mine)[a-z0-9]+ \S", c)})


@pytest.mark.parametrize("command", COMPOSED)
def test_settings_over_a_suite_compose(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    suite, *settings = shlex.split(command)[4:]
    assert yaml.safe_load(composed(suite, settings))["suite"] == suite


# Configuration and code

EXAMPLE = r"(?:`preset: ([a-z0-9-]+)` and )?`((?:loss|method): \{[^`]*\})`"


@pytest.mark.parametrize(("preset", "example"), sorted(set(re.findall(EXAMPLE, EVERYTHING))))
def test_configuration_examples_are_valid(preset: str, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as a cell of its own; a loss beside OmniQuant, a method beside a scheme and a loss if it takes them."""
    monkeypatch.chdir(ROOT)
    own = yaml.safe_load(example.replace("..., ", ""))
    cell = {"model": "m", "calibration": "c", "method": {"name": "omniquant"}, "scheme": "w2a16g64"} | own
    if preset:
        cell = with_preset("example", {"preset": preset} | {k: v for k, v in cell.items() if k != "method"} | own)
    kind = METHODS[cell["method"]["name"]]
    if not kind.needs_scheme:
        del cell["scheme"]
    if kind.trains:
        cell.setdefault("loss", {"weights": {"mse": 1.0}})
    assert Cell.model_validate(cell).recipe


def test_there_are_configuration_examples() -> None:
    assert len(re.findall(EXAMPLE, PAGES["docs/configuration.md"])) == 7


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_the_suite_to_copy_is_valid(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    suite = yaml.safe_load(PAGES[page].split("```yaml\n")[1].split("```")[0])
    assert suite["suite"] == "mine" and {cell["calibration"] for cell in suite["cells"].values()} == {"mine-8x256"}
    for key, cell in suite["cells"].items():
        assert Cell.model_validate(with_preset(key, cell)).recipe
    for key, base in suite.get("report", {}).get("baselines", {}).items():
        assert {key, base} <= set(suite["cells"])


def test_loss_terms_are_all_listed() -> None:
    terms = PAGES["docs/configuration.md"].split("terms: ")[1].split("|")[0]
    assert set(re.findall(r"`(\w+)`", terms)) == set(TERMS)


def test_presets_are_all_listed() -> None:
    presets = {path.stem for path in (ROOT / "conf/preset").glob("*.yaml")}
    table = PAGES["docs/configuration.md"].split("| preset | whose recipe")[1].split("\n\n")[0]
    assert set(re.findall(r"`((?:omniquant|tesseraq)-[a-z0-9-]+)`", table)) == presets


def test_suites_are_all_listed() -> None:
    for page, header in (("docs/configuration.md", "| suite | time |"), ("docs/results.md", "| suite | question |")):
        table = PAGES[page].split(header)[1].split("\n\n")[0]
        assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) | {"smollm2"} == SUITES


def test_python_example_runs() -> None:
    """As it stands, but for the model's folder and the amount of work."""
    code = README.split("```python\n")[1].split("```")[0]
    for text, smaller in (
        ('"path/to/folder"', repr(str(ROOT / "tests/reference/models/tiny-llama"))),
        ("epochs=20", "epochs=1"),
        ("(8, 128)", "(2, 16)"),
    ):
        assert text in code
        code = code.replace(text, smaller)
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["blocks"]) == 2 and names["blocks"][0].trace


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
    r"^\| \[(\w+)\]\(.*\|\s*(\w*)\s*\|$", (ROOT / "results/README.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize(("suite", "commit"), LISTED)
def test_results_say_which_commit_made_them(suite: str, commit: str) -> None:
    records = json.loads((ROOT / f"results/{suite}/provenance.json").read_text(encoding="utf-8"))
    made_at = {record["provenance"]["git_commit"][:7] for cell in records.values() for record in cell.values()}
    assert made_at == ({commit} if commit else set())
    assert all(record["provenance"]["git_clean"] for cell in records.values() for record in cell.values())


def test_every_suites_results_are_listed() -> None:
    assert {suite for suite, _ in LISTED} == {path.name for path in (ROOT / "results").iterdir() if path.is_dir()}
