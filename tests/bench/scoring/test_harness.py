"""What the harness makes of lm-eval's documents and samples: labels that are missing, items, likelihoods, margins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.scoring.harness import _golds, _item
from bench.stages.score import _task_means
from bench.store.items import Item, read_items, write_items
from swq.errors import UserError


def fake_task(documents: list[dict[str, object]]) -> SimpleNamespace:
    """An object with the four members of an lm-eval task that the check reads."""
    return SimpleNamespace(
        eval_docs=documents,
        doc_to_text=lambda d: d["passage"],
        doc_to_target=lambda d: d.get("label"),
        doc_to_choice=lambda d: ["no", "yes"],
    )


@pytest.mark.parametrize("label", [None, -1, 2, True, "maybe"])
def test_document_without_a_valid_answer_is_an_error_and_no_score(label: object) -> None:
    """lm-eval only warns, and counts the document as wrong: BoolQ without `label` would read acc 0.0."""
    good: dict[str, object] = {"passage": "p", "label": 1}
    bad = {"passage": "p", "answer": True} | ({} if label is None else {"label": label})
    with pytest.raises(UserError, match=r"task boolq: document 1 has no valid answer .*passage, answer"):
        _golds("boolq", fake_task([good, bad]), None)


def test_only_documents_that_are_scored_need_an_answer() -> None:
    assert _golds("boolq", fake_task([{"passage": "p", "label": 1}, {"passage": "p"}]), 1) == {0: 1}


def sample(acc: float, *likelihoods: float) -> dict[str, object]:
    return {"doc_id": 0, "doc_hash": "h", "acc": acc, "filtered_resps": [(value, False) for value in likelihoods]}


def test_item_keeps_every_choice_and_its_margin(tmp_path: Path) -> None:
    item = _item("piqa", sample(0.0, -3.0, -1.5, -9.0), {0: 0})
    assert not item.correct and item.margin == -1.5
    assert item == Item("piqa", 0, "h", 0, (-3.0, -1.5, -9.0))
    write_items(tmp_path / "items.jsonl", [item])
    assert read_items(tmp_path / "items.jsonl") == [item]


def test_item_that_lm_eval_scores_otherwise_is_an_error() -> None:
    with pytest.raises(UserError, match=r"lm-eval scores 1.0"):
        _item("piqa", sample(1.0, -3.0, -1.5), {0: 0})


def test_likelihood_that_is_not_a_number_marks_the_document(tmp_path: Path) -> None:
    item = _item("piqa", sample(0.0, float("nan"), -1.5), {0: 0})
    assert item.diverged and item.log_likelihoods == (None, -1.5)
    assert _task_means([item]) == {"acc": None, "margin": None, "n_items": 1}
    write_items(tmp_path / "items.jsonl", [item])
    assert read_items(tmp_path / "items.jsonl") == [item]
