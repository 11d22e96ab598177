"""Claims, what an interval says of them, and what is said of a suite that ran in part, wrongly, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.analysis.collect import collect
from bench.config.params import Params, load_params
from bench.published import verify as claims
from bench.published.claims import judge, load_claims, more_needed
from bench.published.verify import Finding
from bench.store.items import Item
from swq.errors import UserError
from tests.support import scores, tiny_suite
from tests.support.repository import ROOT

CLAIMED = (4.12, 20.37)


def verify(params: Params) -> tuple[list[Finding], str, int]:
    """Verify what the scores say, as after a report."""
    collect(params)
    return claims.verify(params)


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


def test_committed_claims_are_the_abstracts() -> None:
    claims = load_claims(ROOT / "conf/claims.yaml")
    assert {name: claim.range for name, claim in claims.claims.items()} == {
        "omniquant-llama-2-7b": (4.12, 20.37),
        "omniquant-opt-6.7b": (0.93, 7.65),
        "omniquant-llama-2-13b": (2.26, 6.20),
        "tesseraq-llama-2-7b": (3.63, 7.63),
        "tesseraq-llama-2-13b": (3.63, 7.63),
        "tesseraq-opt-6.7b": (3.63, 7.63),
    }


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda v: v["claims"]["omniquant-llama-2-7b"].update(range=[7, 3]), "must begin with its lower end"),
        (lambda v: v["claims"]["omniquant-llama-2-7b"].update(rnge=[3, 7]), "unknown key 'rnge'"),
        (lambda v: v["claims"]["omniquant-llama-2-7b"].update(method="omniquantt"), "unknown method 'omniquantt'"),
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


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A suite about OPT-6.7B, nothing of it run: OmniQuant with and without SW, three seeds, one scheme."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    values = tiny_suite.params()
    values["models"]["tiny"] = {"source": "hub", "repo": "facebook/opt-6.7b", "revision": "0" * 40}
    cells, baselines = {name: values["cells"][f"tiny-{name}"] for name in ("fp", "rtn")}, {}
    for seed in range(3):
        for name in ("omniquant", "omniquant-sw"):
            cells[f"{name}-{seed}"] = tiny_suite.of_seed(values, f"tiny-{name}", seed)
        baselines[f"omniquant-sw-{seed}"] = f"omniquant-{seed}"
    values |= {"cells": cells, "report": {"baselines": baselines}}
    tiny_suite.write_params(tmp_path, values)
    return load_params()


def write_scores(params: Params, key: str, right: set[int], perplexity: float) -> None:
    """Write scores of 100 documents of each task, of which those whose number is in `right` are right."""
    scores.write_scores(
        params,
        key,
        (
            Item(task, doc, f"{task}{doc}", 0, (-1.0, -2.0) if doc in right else (-2.0, -1.0))
            for task in params.protocol.tasks
            for doc in range(100)
        ),
        perplexity,
        text="wikitext2",
    )


def run(params: Params, gained: int, seeds: int = 3, fp_perplexity: float = 10.86) -> None:
    """Write scores in which full precision has 80 of 100 right, the base 40, and SW `gained` more of each seed."""
    write_scores(params, "fp", set(range(80)), fp_perplexity)
    write_scores(params, "rtn", set(range(30)), 20.0)
    for seed in range(seeds):
        write_scores(params, f"omniquant-{seed}", set(range(40)), 11.65)
        write_scores(params, f"omniquant-sw-{seed}", set(range(40 + gained)), 15.0)


def test_nothing_was_run(params: Params) -> None:
    findings, page, status = verify(params)
    assert [(f.claim, f.verdict, f.n_items) for f in findings] == [("omniquant-opt-6.7b", "not run", 0)]
    assert status == 3 and "**not run**" in page and "Not stated by the source" in page


@pytest.mark.parametrize(
    ("gained", "verdict", "status"),
    [(2, "supported", 0), (12, "larger than claimed", 0), (-5, "contradicted", 4), (0, "withheld", 3)],
)
def test_verdict_follows_the_answers(params: Params, gained: int, verdict: str, status: int) -> None:
    run(params, gained)
    findings, _, found = verify(params)
    assert [f.verdict for f in findings] == [verdict] and found == status
    assert findings[0].n_items == 500 and findings[0].n_seeds == 3
    assert "conditional on these seeds" in findings[0].why
    if findings[0].share:
        assert findings[0].share[0] == pytest.approx(100 * gained / 40)
    assert json.dumps([f.claim for f in findings])


def test_seeds_that_were_run_are_what_is_judged(params: Params) -> None:
    run(params, 2, seeds=1)
    findings, _, _ = verify(params)
    assert findings[0].n_seeds == 1 and "conditional on this seed" in findings[0].why


def test_wrong_protocol_comes_before_any_verdict(params: Params) -> None:
    run(params, 2, fp_perplexity=11.2)
    findings, page, status = verify(params)
    assert findings[0].verdict == "protocol mismatch" and status == 4
    assert "fp: wikitext2 perplexity 11.20, published 10.86 (OQA)" in page


@pytest.mark.parametrize(("perplexity", "mismatch"), [(11.5, False), (14.4, True)])
def test_base_that_is_not_the_published_one_comes_before_any_verdict(
    params: Params, perplexity: float, mismatch: bool
) -> None:
    """OmniQuant on OPT-6.7B at W3A16 has 11.65 in its paper; within 5 % is the same base."""
    values = yaml.safe_load(Path("params.yaml").read_text())
    for cell in values["cells"].values():
        if "scheme" in cell:
            cell["scheme"] = "w3a16"
    tiny_suite.write_params(Path(), values)
    edited = load_params()
    run(edited, 2)
    write_scores(edited, "omniquant-2", set(range(40)), perplexity)  # any seed's base
    findings, page, status = verify(edited)
    assert (findings[0].verdict == "protocol mismatch") == mismatch and status == (4 if mismatch else 0)
    assert ("omniquant-2: wikitext2 perplexity 14.40, published 11.65 (OQA)" in page) == mismatch


@pytest.mark.parametrize(("key", "mismatch"), [("omniquant-sw-1", True), ("omniquant-1", True), ("rtn", False)])
def test_block_that_was_not_trained_as_the_recipe_says_comes_before_any_verdict(
    params: Params, key: str, mismatch: bool
) -> None:
    """It departs from the recipe that the claim is about, in the row itself and in its base."""
    run(params, 2)
    scores.note_retry(key, **{"3": "the loss became nan"})
    findings, _, status = verify(params)
    assert (findings[0].verdict == "protocol mismatch") == mismatch and status == (4 if mismatch else 0)
    said = f"{key}: block 3 was trained again at a lower rate than the recipe's"
    assert (said in findings[0].why) == mismatch


def test_suite_without_a_claim_says_so(params: Params) -> None:
    tiny_suite.write_params(Path(), tiny_suite.params())
    with pytest.raises(UserError, match="no claim is about a model of suite tiny"):
        verify(load_params())
