"""What is imported before a command begins its work: modules are compared, and not seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from bench.__main__ import app
from tests.support.repository import ROOT

SLOW = ("torch", "transformers", "lightning", "datasets", "matplotlib", "pandas")  # from a third of a second to seconds


def imported(code: str) -> set[str]:
    """Return which of the slow libraries a fresh interpreter holds after it has run `code`."""
    asked = f"import sys\n{code}\nprint(*[name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_configuration_is_read_without_slow_libraries() -> None:
    code = "import bench.__main__\nfrom bench.config.params import load_params\nassert load_params().cells"
    assert imported(code) == set()


# What each command imports before its work begins, and which of the slow libraries that may bring.
TORCH = {"torch"}
MODELS = {"torch", "transformers"}
EVERY_STAGE = ("bench.__main__", "bench.runs.leftovers", "bench.store.sweep")
COMMANDS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "compose": (("bench.config.compose", "hydra"), set()),
    "check": (("bench.preflight.check",), set()),
    "estimate": (("bench.preflight.estimate",), set()),
    "power": (("bench.power.plan", "bench.power.page"), set()),
    "run": (("bench.preflight.check", "bench.runs.run", "bench.runs.show", "bench.runs.console"), set()),
    "show": (("bench.runs.show",), set()),
    "import": (("bench.runs.import_raw",), set()),
    "index": (("bench.runs.index",), set()),
    "export": (("bench.runs.export",), set()),
    "verify": (("bench.published.verify",), set()),
    "published": (("bench.published.contradictions",), set()),
    "validate": (("bench.stages.validate",), set()),
    "fetch-model": (("bench.stages.fetch", "bench.prepare.hub", "swq.models.folder"), set()),
    "fetch-corpus": (
        ("bench.stages.fetch", "bench.prepare.corpus_folder", "bench.prepare.hub"),
        {"datasets", "pandas"},
    ),
    "calibrate": (("bench.stages.calibrate",), TORCH),
    "compare": (("bench.stages.compare",), TORCH),
    "report": (("bench.stages.report",), {"matplotlib"}),
    "score": (
        ("bench.stages.score", "bench.scoring.harness", "bench.scoring.model", "bench.scoring.perplexity"),
        MODELS,
    ),
    "reconstruct": (("bench.stages.reconstruct",), MODELS | {"lightning", "matplotlib"}),
    "smoke-gpu": (("bench.smoke.run",), MODELS | {"lightning", "matplotlib"}),
    "speed": (("bench.speed.run",), MODELS | {"lightning", "matplotlib"}),
    "train-model": (("bench.stages.train", "bench.stages.small_opt"), set(SLOW)),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_what_it_needs(command: str) -> None:
    modules, allowed = COMMANDS[command]
    assert imported("\n".join(f"import {module}" for module in (*EVERY_STAGE, *modules))) <= allowed


def test_every_command_is_looked_at() -> None:
    assert set(typer.main.get_command(app).commands) == {*COMMANDS, "failures"}, "`failures` imports nothing more"


def test_a_family_is_known_without_transformers(tmp_path: Path) -> None:
    """Of a model that no family describes transformers is asked."""
    (tmp_path / "config.json").write_text('{"model_type": "opt", "architectures": ["OPTForCausalLM"]}')
    assert imported(f"from swq.models.folder import check_model_folder\ncheck_model_folder({str(tmp_path)!r})") == set()


def test_slow_libraries_are_noticed() -> None:
    assert imported("import torch") == {"torch"}
