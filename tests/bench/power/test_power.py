"""`python -m bench power`: what suite paper can decide, without a network, and mistakes in asking."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.config.compose import composed
from bench.config.params import PARAMS, load_params
from bench.power.decisions import answer
from bench.power.design import MANY
from bench.power.gaps import accuracy_gap, perplexity_gap
from bench.power.page import as_json, page, upper
from bench.power.plan import Plan, Wanted, plan
from bench.preflight.at_hand import shapes_of
from bench.preflight.cost import cost
from bench.preflight.seconds import Rates
from bench.published.figures import load_published
from bench.runs.slices import Slice, select
from swq.errors import UserError
from tests.bench.published.test_figures import FIVE, LLAMA_7B
from tests.support.pages import PAGES
from tests.support.repository import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with suite paper, and what the repository knows."""
    folder = tmp_path_factory.mktemp("paper")
    for name in ("conf", "results"):
        (folder / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        PARAMS.write_text(composed("paper"))
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Plan:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = load_params()
        return plan(params, select(params, Slice("llama-2-7b")), Wanted())


def half_width(found: Plan, label: str, scheme: str, n_seeds: int | None = None) -> float:
    (forecast,) = [
        f
        for f in found.forecasts
        if (f.row.label, str(f.row.cell.scheme), f.endpoint.name) == (label, scheme, "accuracy")
    ]
    value = forecast.half_width(n_seeds)
    assert value is not None
    return value


@pytest.mark.parametrize(
    ("label", "scheme", "low", "high"),
    [
        ("OmniQuant + SW", "w4a16", 28, 48),
        ("OmniQuant + SW", "w3a16g128", 22, 38),
        ("TesseraQ + SW", "w2a16g128", 9, 16),
        ("OmniQuant + SW", "w2a16g128", 2.7, 5),
    ],
)
def test_items_of_one_seed_leave_what_can_be_counted_by_hand(
    found: Plan, label: str, scheme: str, low: float, high: float
) -> None:
    """0.6 to 0.8 points: 1.96 times the root of a tenth of answers changed over whole task sets, over what is lost."""
    assert low < half_width(found, label, scheme) < high


def test_more_seeds_leave_less_and_decide_more(found: Plan) -> None:
    assert half_width(found, "OmniQuant + SW", "w4a16", 20) < half_width(found, "OmniQuant + SW", "w4a16") / 2
    whole = {(d.claim, d.scheme): d for d in found.decided}
    omniquant = whole["omniquant-llama-2-7b", "any"]
    assert all(seeds is not None and 5 <= seeds <= 60 for seeds in omniquant.seeds)
    assert omniquant.answers[1] == "needs 5 seeds", "one seed gives no verdict"
    small = whole["omniquant-llama-2-7b", "w4a16"].seeds[0]
    assert small is not None and not small < 100, "NaN and infinity are not below it"
    assert whole["tesseraq-llama-2-7b", "w2a16"].answers == ["no published gap"] * 2
    every = whole["perplexity-omniquant-llama-2-7b", "every"]
    assert every.seeds[0] == max(d.seeds[0] or 0 for key, d in whole.items() if key[0] == every.claim)


def test_answers() -> None:
    assert [answer(seeds, 8) for seeds in (None, 7, 8, 9, math.nan, math.inf)] == [
        "no published gap",
        "can decide",
        "can decide",
        "needs 9 seeds",
        "out of reach: more than 1,000 seeds",
        "cannot at any number of seeds",
    ]


def test_the_page_says_where_variances_are_from(found: Plan) -> None:
    said = page(found)
    assert "borrowed from smollm2: omniquant w2a16g32" in said and "degrees of freedom" in said
    assert f"{upper(4):.1f}" == "2.4" and "an 80 % upper bound asks for " in said
    assert said.count("no published gap") > 8


def test_json_holds_what_the_page_says(found: Plan) -> None:
    values = json.loads(json.dumps(as_json(found), allow_nan=False))
    row = next(row for row in values["rows"] if row["row"] == "paper-llama-2-7b-w2a16g128-omniquant-sw")
    assert row["endpoint"] == "log-perplexity" and row["seeds_for_half_width"] > 5 and row["hours_a_seed"] > 5
    assert [d["answers"] for d in values["claims"]] == [d.answers for d in found.decided]


@pytest.mark.parametrize("suite", ["smollm2", "methods"])
def test_a_suite_that_was_run_uses_its_own_variances_and_losses(
    suite: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = composed(suite)
    monkeypatch.chdir(tmp_path)
    for name in ("conf", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    PARAMS.write_text(text)
    params = load_params()
    own = plan(params, list(params.cells), Wanted())
    assert own.decided == () and all(forecast.row.own for forecast in own.forecasts)
    with_sw = [forecast.row for forecast in own.forecasts if forecast.row.name.endswith("-sw")]
    assert with_sw and all(row.source.name == row.name for row in with_sw)
    assert {forecast.row.n_seeds for forecast in own.forecasts} == {5}
    assert {f.endpoint.gap.source for f in own.forecasts if f.endpoint.gap} == {f"results/{suite}"}
    assert "borrowed from" not in page(own)


def test_docs_power_holds_what_the_command_says(found: Plan) -> None:
    """If results changed: `python -m bench power --model llama-2-7b` in suite paper, then read the prose again."""
    shown = re.search(r"<!-- power: llama-2-7b, accuracy -->\n\|.*\n\|.*\n((?:\|.*\n)+)", PAGES["docs/power.md"])
    assert shown
    decided = {(d.claim, d.scheme): d.answers for d in found.decided}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown[1].splitlines()]
    assert len(rows) == 5
    for method, scheme, lost, *widths, low, high in rows:
        forecast = next(
            f
            for f in found.forecasts
            if (f.row.label, str(f.row.cell.scheme), f.endpoint.name) == (f"{method} + SW", scheme, "accuracy")
        )
        assert forecast.endpoint.gap and f"{100 * forecast.endpoint.gap.lost:.1f}" == lost
        assert [f"{forecast.half_width(n):.1f}" for n in (1, 5, 20, MANY)] == widths
        assert decided[f"{method.lower()}-llama-2-7b", scheme] == [low, high]


# What it is made from


@pytest.mark.parametrize(
    ("method", "scheme", "points", "source"),
    [
        ("omniquant", "w4a16", 1.9, "AR"),
        ("omniquant", "w3a16g128", 2.4, "AR"),
        ("omniquant", "w2a16g128", 17.8, "AR"),
        ("tesseraq", "w2a16g128", 5.5, "TQA, full precision AR"),
    ],
)
def test_published_gaps(here: Path, method: str, scheme: str, points: float, source: str) -> None:
    gap = accuracy_gap(load_published(), LLAMA_7B, method, scheme, FIVE)
    assert gap is not None and 100 * gap.lost == pytest.approx(points, abs=0.05) and gap.source == source


def test_a_gap_that_is_not_published_is_none(here: Path) -> None:
    registry = load_published()
    assert accuracy_gap(registry, LLAMA_7B, "tesseraq", "w4a16", FIVE) is None
    assert accuracy_gap(registry, "facebook/opt-6.7b", "omniquant", "w4a16", FIVE) is None
    assert perplexity_gap(registry, "facebook/opt-6.7b", "tesseraq", "w4a16", ["wikitext2"]) is None
    gap = perplexity_gap(registry, LLAMA_7B, "omniquant", "w2a16g128", ["wikitext2", "c4"])
    assert gap is not None
    assert gap.lost == pytest.approx((math.log(11.06 / 5.47) + math.log(15.02 / 6.97)) / 2) and gap.source == "OQ1, OQA"


def test_hours_are_those_of_estimate(found: Plan, here: Path) -> None:
    params, row = load_params(), found.forecasts[0].row
    shapes = shapes_of(params, row.cell.model)
    costs = [cost(params, params.cells[key], shapes, Rates()) for key in (row.name, row.name[: -len("-sw")])]
    assert row.hours == pytest.approx(sum(c.reconstruct + c.score for c in costs) / 3600)


# The command, and mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "llama-3"], "unknown model 'llama-3'"),
        (["--scheme", "w9a16"], "unknown scheme 'w9a16'"),
        (["--half-width", "0"], "--half-width: 0 must be above 0 and at most 100 (percent)"),
        (["--effect", "-3"], "--effect: -3 must be above 0"),
        (["--bound", "nan"], "--bound: nan must be above 0"),
        (["--chance", "80"], "--chance: 80 must be between 0 and 1"),
        (["--model", "opt-125m"], "no row of this slice is compared with its own method without SW"),
    ],
)
def test_a_mistake_is_one_line(here: Path, arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["power", *arguments])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception) and "\n" not in str(done.exception)


def test_the_command_prints_a_page_or_json(here: Path) -> None:
    slice_ = ["power", "--model", "llama-2-7b", "--scheme", "w2a16g64"]
    done = CliRunner().invoke(app, [*slice_, "--bound", "3"])
    assert done.exit_code == 0 and "for inside ± 3" in done.stdout
    done = CliRunner().invoke(app, [*slice_, "--json"])
    assert [row["endpoint"] for row in json.loads(done.stdout)["rows"]] == ["log-perplexity", "accuracy"] * 2
