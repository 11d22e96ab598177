"""`python -m bench speed` on tiny shapes: its tables, its JSON, and what it says of a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.config.params import Params, load_params
from bench.speed import page, run, scoring
from bench.speed.parts import PROJECTIONS
from bench.speed.step import OURS, PLAIN
from bench.speed.subject import CASES, Shapes
from bench.stages.fetch import fetch_corpus, fetch_model
from swq.errors import UserError
from swq.quant.scheme import Scheme
from tests.support import tiny_suite
from tests.support.pages import tables
from tests.support.project import in_folder_with_code

TINY = "--hidden 64 --intermediate 96 --heads 4 --kv-heads 2 --scheme w3a16g32 --tokens 8 --tokens 16 --repeats 2"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The tiny suite's params.yaml in a folder without data."""
    in_folder_with_code(tmp_path, monkeypatch)
    tiny_suite.write_params(tmp_path, tiny_suite.params())
    return load_params()


def speed(options: str) -> str:
    done = CliRunner().invoke(app, ["speed", *options.split()], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.slow
def test_steps_and_parts_of_every_case_at_every_length(params: Params) -> None:
    printed = speed(f"{TINY} --only step --json out.json")
    assert "threads 1, torch" in printed and "instruction set" in printed and "commit" in printed
    steps, parts = tables(printed)
    for table in (steps, parts):
        for case in CASES:
            assert table.count(f"| {case.name} ") == 2
    written = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert len(written["steps"]) == len(written["parts"]) == 2 * len(CASES)
    first = written["steps"][0]
    ratio = first["plain / ours"]
    assert first["ours ms"] > 0 and ratio["low"] <= ratio["median"] <= ratio["high"]
    assert written["sw_shares"] == [] and written["scoring"] is None
    assert written["block"] == {**TINY_BLOCK, "scheme": "w3a16g32"}


TINY_BLOCK = {"hidden": 64, "intermediate": 96, "heads": 4, "kv_heads": 2, "family": "llama"}


@pytest.mark.slow
def test_shares_of_sw(params: Params) -> None:
    (shares,) = tables(speed(f"{TINY} --only sw"))
    header = [cell.strip() for cell in shares.splitlines()[0].strip("|").split("|")]
    assert header == ["tokens", *map(str, PROJECTIONS)]
    assert len(shares.splitlines()) == 2 + 2


@pytest.mark.slow
def test_scoring_answers_as_lm_eval_does(params: Params) -> None:
    tiny_suite.write_model(Path("inputs/model"))
    tiny_suite.write_corpus(Path("inputs/corpus"))
    fetch_model(params, "tiny")
    fetch_corpus(params, "words")
    request = run.Request(Shapes(64, 96, 4, 2), Scheme.parse("w3a16g32"), [8], 2)
    found = page.Measured({}, {}, 2, scoring=scoring.measure_scoring(params, lambda _: None))
    assert found.scoring is not None
    assert found.scoring.documents == 25 and found.scoring.requests == 5 * (2 + 4 + 4 + 4 + 2)
    assert found.scoring.difference < 1e-4 and found.scoring.answers == 0
    found.scoring_memory = [
        scoring.ScoringPeak(words, {side: peak for side in (OURS, PLAIN)})
        for words, peak in (scoring._scoring_peak(params, OURS, None), scoring._scoring_peak(params, PLAIN, 4096))
    ]
    assert found.scoring_memory[1].vocabulary == 4096 > found.scoring_memory[0].vocabulary
    assert len(tables(found.page())) == 2
    json.dumps(found.as_data(), allow_nan=False)
    assert run._scores(params, request, found.notes) and not found.notes


def test_without_data_the_rest_is_measured(params: Params) -> None:
    request = run.Request(Shapes(64, 96, 4, 2), Scheme.parse("w3a16g32"), [8], 2)
    notes: list[str] = []
    assert not run._scores(params, request, notes)
    (note,) = notes
    assert "scoring needs the model and the corpus" in note and "make repro" in note and "\n" not in note


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--only scoring", "scoring needs the model and the corpus of params.yaml, which `make repro` fetches"),
        ("--only steps", "unknown part of speed 'steps'; did you mean 'step'?"),
        ("--family gpt2", "unknown family 'gpt2'"),
        ("--heads 7", "hidden 576 does not divide into 7 heads"),
        ("--kv-heads 2", "heads 9 is not a multiple of kv-heads 2"),
        ("--hidden 0", "must be at least 1"),
        ("--scheme w3", "scheme 'w3' is not of the form"),
        ("--scheme w3a16g128", "groups of 128 do not divide a row of 576 input channels"),
        ("--tokens 1", "repeats and tokens must be at least 2"),
        ("--repeats 1", "repeats and tokens must be at least 2"),
        ("--json nowhere/out.json", "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line(params: Params, options: str, said: str) -> None:
    done = CliRunner().invoke(app, ["speed", *options.split()])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception) and "\n" not in str(done.exception)
