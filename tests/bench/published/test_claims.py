"""Claims, and what an interval says of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.published.claims import (
    Verdict,
    judge,
    judge_consistency,
    judge_direction,
    load_claims,
    more_needed,
    with_seeds,
)
from bench.published.figures import load_published
from swq.errors import UserError
from tests.support.repository import ROOT

CLAIMED = (4.12, 20.37)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (2.0, 9.0, "supported"),
        (5.0, 6.0, "supported"),
        (0.5, 4.2, "supported"),
        (1.0, 4.0, "smaller than claimed"),
        (21.0, 40.0, "larger than claimed"),
        (-3.0, -1.0, "contradicted"),
        (-3.0, 0.0, "contradicted"),
        (-2.0, 4.0, "contradicted"),
        (-2.0, 5.0, "inconclusive"),
        (0.0, 5.0, "inconclusive"),
        (-50.0, 90.0, "inconclusive"),
    ],
)
def test_predicate(low: float, high: float, verdict: str) -> None:
    assert judge(low, high, CLAIMED) == verdict


def test_what_more_an_answer_needs_goes_with_the_square() -> None:
    assert more_needed(-4.12, 8.24, CLAIMED) == pytest.approx(9.0)
    assert more_needed(-0.5, 4.5, CLAIMED) == pytest.approx(1.5)
    for low, high in ((-8.0, 8.0), (-0.5, 4.5)):
        half = (high - low) / 2 / more_needed(low, high, CLAIMED) ** 0.5
        assert all(judge(c - half, c + half, CLAIMED) != "inconclusive" for c in (-1.0, 0.0, 2.06, 4.12, 6.0))


def test_below_five_seeds_there_is_no_verdict() -> None:
    assert with_seeds("supported", 4) == ("provisional", "supported")
    assert with_seeds("contradicted", 5) == ("contradicted", None)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "supported"), (-0.2, -0.01, "contradicted"), (-0.1, 0.1, "inconclusive"), (0.0, 0.0, "inconclusive")],
)
def test_direction(low: float, high: float, verdict: str) -> None:
    assert judge_direction(low, high) == verdict


@pytest.mark.parametrize(
    ("single", "corrected", "verdict"),
    [
        (["supported", "supported"], ["supported", "inconclusive"], "supported"),
        (["supported", "inconclusive"], ["supported", "inconclusive"], "inconclusive"),
        (["supported", "contradicted"], ["supported", "inconclusive"], "inconclusive"),
        (["supported", "contradicted"], ["supported", "contradicted"], "contradicted"),
        (["provisional", "contradicted"], [None, "contradicted"], "contradicted"),
        (["supported", "provisional"], ["supported", None], "provisional"),
        (["supported", "not run"], ["supported", None], "provisional"),
        (["supported", "withheld"], ["supported", "withheld"], "inconclusive"),
        (["not run", "not run"], [None, None], "not run"),
    ],
)
def test_consistently_is_in_every_setting(single: list[Verdict], corrected: list[Verdict | None], verdict: str) -> None:
    assert judge_consistency(single, corrected) == verdict


def test_committed_claims_are_the_abstracts() -> None:
    claims = load_claims(ROOT / "conf/claims.yaml")
    assert {name: claim.range for name, claim in claims.claims.items() if claim.of == "sw"} == {
        "omniquant-llama-2-7b": (4.12, 20.37),
        "omniquant-opt-6.7b": (0.93, 7.65),
        "omniquant-llama-2-13b": (2.26, 6.20),
        "tesseraq-llama-2-7b": (3.63, 7.63),
        "tesseraq-llama-2-13b": (3.63, 7.63),
        "tesseraq-opt-6.7b": (3.63, 7.63),
    }
    shares = {(claim.model, claim.method) for claim in claims.claims.values() if claim.of == "sw"}
    assert {(direction.model, direction.method) for direction in claims.directions.values()} == shares


def test_claims_about_saliency_are_the_shares_of_the_published_averages() -> None:
    claims, registry = load_claims(ROOT / "conf/claims.yaml"), load_published(ROOT / "conf/published.yaml")
    fp = {"meta-llama/Llama-2-7b-hf": 64.85, "meta-llama/Llama-2-13b-hf": 67.81}
    about = [claim for claim in claims.claims.values() if claim.of == "saliency"]
    assert {claim.model for claim in about} == set(fp)
    for claim in about:
        base, treated = (
            figure.mean_acc
            for method in ("apiq", "apiq-saliency")
            for figure in registry.find(claim.model, method, "w2a16g64")
        )
        assert base and treated and claim.source
        share = 100 * (treated - base) / (fp[claim.model] - base)
        assert claim.range[0] == claim.range[1] == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda v: v["claims"]["omniquant-llama-2-7b"].update(range=[7, 3]), "must begin with its lower end"),
        (lambda v: v["claims"]["omniquant-llama-2-7b"].update(rnge=[3, 7]), "unknown key 'rnge'"),
        (lambda v: v["claims"]["omniquant-llama-2-7b"].update(method="omniquantt"), "unknown method 'omniquantt'"),
        (
            lambda v: v["directions"].update({"omniquant-llama-2-7b": {"model": "m", "method": "omniquant"}}),
            "directions.omniquant-llama-2-7b: the name is taken",
        ),
        (lambda v: v["directions"]["perplexity-tesseraq-opt-6.7b"].update(method="tq"), "unknown method 'tq'"),
        (lambda v: v.update(tasks=["pika"]), "unknown task 'pika'"),
        (lambda v: v["tolerance"].update(fp=-1), "tolerance.fp"),
    ],
)
def test_mistake_in_a_claim_is_named(tmp_path: Path, edit: Any, said: str) -> None:
    values = yaml.safe_load((ROOT / "conf/claims.yaml").read_text())
    edit(values)
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=said):
        load_claims(tmp_path / "claims.yaml")
