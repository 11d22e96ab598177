"""The README's numbers are the committed results, and its configuration examples are valid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cell import Cell
from bench.compose import _with_preset
from swq.methods import METHODS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tables(text: str) -> list[str]:
    """Return the Markdown tables in a text."""
    return re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)


SHOWN = re.findall(
    r"<!-- results/(\w+)/table\.md,[^\n]*-->\n<!-- table -->\n(.*?)<!-- end of table -->", README, re.DOTALL
)


@pytest.mark.parametrize(("suite", "shown"), SHOWN, ids=[suite for suite, _ in SHOWN])
def test_tables_are_those_of_the_committed_results(suite: str, shown: str) -> None:
    committed = (ROOT / f"results/{suite}/table.md").read_text(encoding="utf-8")
    assert tables(shown) == tables(committed)[: len(tables(shown))] != []


def test_the_readme_shows_what_its_commands_print() -> None:
    assert [(suite, len(tables(shown))) for suite, shown in SHOWN] == [("smollm2", 1), ("bundled", 3)]


def test_committed_results_are_whole() -> None:
    metrics = json.loads((ROOT / "results/bundled/cells.json").read_text(encoding="utf-8"))
    cells = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["cells"]
    assert list(metrics) == list(cells)
    assert all(min(cell["perplexity"].values()) > 0 and len(cell["tasks"]) == 5 for cell in metrics.values())


EXAMPLE = r"(?:`preset: ([a-z0-9-]+)` and )?`((?:loss|method): \{[^`]*\})`"


@pytest.mark.parametrize(("preset", "example"), re.findall(EXAMPLE, README))
def test_configuration_examples_are_valid(preset: str, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as a cell of its own; a loss beside OmniQuant, a method beside a scheme and a loss if it takes them."""
    monkeypatch.chdir(ROOT)
    own = yaml.safe_load(example.replace("..., ", ""))
    cell = {"model": "m", "calibration": "c", "method": {"name": "omniquant"}, "scheme": "w2a16g64"} | own
    if preset:
        cell = _with_preset("example", {"preset": preset} | {k: v for k, v in cell.items() if k != "method"} | own)
    kind = METHODS[cell["method"]["name"]]
    if not kind.needs_scheme:
        del cell["scheme"]
    if kind.trains:
        cell.setdefault("loss", {"weights": {"mse": 1.0}})
    assert Cell.model_validate(cell).recipe


def test_presets_are_all_listed() -> None:
    presets = {path.stem for path in (ROOT / "conf/preset").glob("*.yaml")}
    table = README.split("| preset | whose recipe")[1].split("\n\n")[0]
    assert set(re.findall(r"`((?:omniquant|tesseraq)-[a-z0-9-]+)`", table)) == presets


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
