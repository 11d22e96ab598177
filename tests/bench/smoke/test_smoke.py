"""smoke-gpu on the processor, with a small block: every check runs, and what fails is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from bench.__main__ import app
from bench.smoke import blocks
from bench.smoke.blocks import METHODS
from bench.smoke.scoring import Scored
from swq.errors import UserError
from swq.methods import METHODS as KNOWN
from tests.support.repository import ROOT

SMALL = ["--tokens", "32", "--hidden", "256", "--intermediate", "256", "--heads", "4", "--kv-heads", "2"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's folder, as far as the command needs one; nothing was fetched there."""
    for name in ("tests", "conf", "results", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(arguments: list[str], status: int) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["smoke-gpu", "--cpu", *SMALL, *arguments])
    assert done.exit_code == status, done.output
    assert "All numbers are in smoke-gpu.json" in done.output
    return json.loads(Path("smoke-gpu.json").read_text())


def test_every_check_runs_and_passes_on_the_processor(here: Path) -> None:
    data = found([], status=0)
    assert data["failed"] == []
    assert [row["run"] for row in data["replays"] if row["difference"] > 1e-5 or row["other_codes"]] == []
    assert len(data["replays"]) == 6 and all(row["codes"] > 80_000 for row in data["replays"])
    made = {(row["method"], row["precision"]) for row in data["trained"]}
    assert made == {(method, precision) for method in METHODS for precision in ("32-true", "bf16-mixed")}
    untrained = {"RTN", "AWQ", "GPTQ"}
    assert {row["method"] for row in data["trained"] if row["steps"]} == METHODS.keys() - untrained
    assert all(row["milliseconds"] > 0 for row in data["steps"]) and len(data["steps"]) == 2 * 3
    assert data["scored"] is None and "Scoring was not checked" in data["notes"][0]
    assert data["provenance"]["libraries"]["torch"] and data["machine"]["processor"]


def test_every_method_is_checked() -> None:
    assert {of["method"]["name"] for of in METHODS.values()} == set(KNOWN) - {"fp"}


def test_what_fails_is_a_row_and_stops_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Expected all tensors to be on the same device\nand more")

    monkeypatch.setattr(blocks, "reconstruct", broken)
    data = found([], status=1)
    assert len(data["failed"]) == 2 * len(METHODS) and "RTN in 32-true" in data["failed"]
    assert {row["error"] for row in data["trained"]} == {"RuntimeError: Expected all tensors to be on the same device"}


def test_a_part_that_stops_is_named_and_the_others_go_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: out of memory\nand more")

    monkeypatch.setattr("bench.smoke.run.replay_all", broken)
    monkeypatch.setattr("bench.smoke.run.METHODS", {})
    data = found([], status=1)
    assert data["failed"] == ["recorded runs (RuntimeError: CUDA error: out of memory)"] and len(data["steps"]) == 6


def test_a_score_that_is_far_off_fails() -> None:
    near = Scored("fp", documents=9, answers=1, likelihoods=1e-3, windows=2, losses=1e-4, seconds=1.0)
    far = Scored("fp", documents=9, answers=1, likelihoods=float("inf"), windows=2, losses=1e-4, seconds=1.0)
    assert near.passed and not far.passed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "torch sees no GPU here; --cpu checks the processor instead"),
        (["--cpu", "--json", "tests"], "tests is a folder; the numbers need a file"),
        (["--json", "nowhere/x.json"], "nowhere/x.json cannot be written: there is no folder nowhere"),
        (["--cpu", "--heads", "5"], "does not divide into 5 heads"),
        (["--cpu", "--tokens", "1"], "tokens must be at least 2"),
    ],
)
def test_mistakes_are_named(here: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(app, ["smoke-gpu", *arguments])
    assert isinstance(done.exception, UserError) and said in str(done.exception)


def test_it_needs_the_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").symlink_to(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["smoke-gpu", "--cpu", *SMALL])
    assert isinstance(done.exception, UserError)
    assert "there is no tests/reference/models/tiny-llama here; run from the repository's top folder" in str(
        done.exception
    )
