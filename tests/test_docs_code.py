"""What the pages tell people to type is valid: commands, settings, suites, Python."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from bench.__main__ import app
from bench.config.cell import Cell
from bench.config.compose import composed
from bench.config.preset import with_preset
from swq.command.app import app as console
from swq.losses import TERMS
from swq.methods import METHODS
from tests.support.pages import EVERYTHING, PAGES, README, per_page
from tests.support.repository import ROOT

# Commands

BLOCKS = per_page(r"```sh\n(.*?)```", re.MULTILINE | re.DOTALL)
INLINE = per_page(r"`((?:python -m bench|make |dvc |swq |python benchmarks/)[^`]*)`")
COMMANDS = sorted(
    {
        (page, command.strip())
        for page, block in BLOCKS + INLINE
        for line in re.sub(r"\\\n *", "", block).splitlines()
        for command in line.split(" #")[0].split("&&")
        if command.strip()
    }
)
BENCH = typer.main.get_command(app)
SWQ = typer.main.get_command(console)
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
        case ["swq", name, *words]:
            assert name in SWQ.commands, f"swq has no command {name}"
            if len(words) > 1 or (words and not words[0].startswith("--")):  # else it is named in a sentence
                SWQ.commands[name].make_context(name, words)
        case [variable, "python", "-m", "pytest", file]:
            name = variable.partition("=")[0]
            assert name in (ROOT / file).read_text(encoding="utf-8"), f"{file} does not read {name}"
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
            pytest.fail(f"{page} names {words}, which this test does not know")


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
    assert len(re.findall(EXAMPLE, PAGES["docs/configuration.md"])) == 12


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
    assert set(re.findall(r"`((?:apiq|gptq|omniquant|tesseraq)-[a-z0-9-]+)`", table)) == presets


def test_suites_are_all_listed() -> None:
    for page, header in (("docs/configuration.md", "| suite | time |"), ("docs/results.md", "| suite | question |")):
        table = PAGES[page].split(header)[1].split("\n\n")[0]
        assert set(re.findall(r"^\| `([\w-]+)`", table, re.MULTILINE)) | {"smollm2"} == SUITES


def test_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, but for the model's folder and the amount of work."""
    code = README.split("```python\n")[1].split("```")[0]
    for text, smaller in (
        ('"path/to/folder"', repr(str(ROOT / "tests/reference/models/tiny-llama"))),
        ("epochs=20", "epochs=1"),
        ("(8, 128)", "(2, 16)"),
        ("path/to/another", "exported"),
    ):
        assert text in code
        code = code.replace(text, smaller)
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(code, names)
    assert len(names["quantized"].losses) == 2 and all(names["quantized"].losses)
    assert (tmp_path / "quantized.safetensors").is_file() and (tmp_path / "exported/model.safetensors").is_file()


def test_the_librarys_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, but for the model's folder."""
    import torch

    model, loss = re.findall(r"```python\n(.*?)```", PAGES["docs/library.md"], re.DOTALL)
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(model.replace('"path/to/folder"', repr(str(ROOT / "tests/reference/models/tiny-llama"))), names)
    assert f"{names['perplexity']:.3f} on 4 windows of 32 tokens" in (tmp_path / "exported/README.md").read_text()
    exec(loss, names)
    assert names["loss"] < 0.01, "it began at 0.6"
