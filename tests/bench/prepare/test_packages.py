"""Fetching and preparing data: checksums, downloads that fail, overlap, labels that are missing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import packages
from bench.corpus import Corpus, _arc_record, from_folder, without_overlap, write_corpus
from bench.harness import Item, _golds, _item, read_items, write_items
from bench.stages.score import _task_means
from swq.errors import UserError
from swq.files import sha256_file
from tests import tiny_suite


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "some_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_data/file.txt", "content")
    return path


def test_wheel_that_lies_there_is_checked_and_used(wheel: Path) -> None:
    assert packages.fetch_wheel("some-data==1.0", sha256_file(wheel), wheel.parent) == wheel
    assert packages.extract(wheel, "some_data/file.txt", wheel.parent).read_text() == "content"


def test_other_checksum_is_refused(wheel: Path) -> None:
    with pytest.raises(UserError, match=f"has SHA-256 {sha256_file(wheel)}, expected {'0' * 64}"):
        packages.fetch_wheel("some-data==1.0", "0" * 64, wheel.parent)


def test_file_missing_in_the_wheel(wheel: Path) -> None:
    with pytest.raises(UserError, match=r"holds no file some_data/other.txt"):
        packages.extract(wheel, "some_data/other.txt", wheel.parent)


def test_failed_download_names_the_package_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # pip itself refuses to ask any index
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=r"could not download no-such-data==9.9: ERROR: .*; check the network"):
        packages.fetch_wheel("no-such-data==9.9", "0" * 64, tmp_path)


def test_passages_that_share_a_run_of_words_with_anything_scored_are_removed() -> None:
    own, shared, in_task = tiny_suite.passages(3, 30, seed=5)
    corpus = Corpus(
        calibration=[own, f"Before it {shared} and after it", in_task],
        perplexity=[shared.upper()],
        tasks={"piqa": [{"goal": "?", "nested": {"text": [in_task]}}], "boolq": [{"passage": "something else"}]},
    )
    kept, removed = without_overlap(corpus)
    assert kept == [own]
    assert removed == {"perplexity": 1, "piqa": 1, "boolq": 0}


def test_arc_document_gets_its_official_fields() -> None:
    document = {"id": "m1", "query": "Question: Why?\nAnswer:", "choices": ["x", "y", "z"], "gold": 2}
    record = _arc_record(document)
    assert record == {
        "id": "m1",
        "question": "Why?",
        "choices": {"text": ["x", "y", "z"], "label": ["A", "B", "C"]},
        "answerKey": "C",
    }


def test_corpus_folder_is_written_the_same_twice(tmp_path: Path) -> None:
    tiny_suite.write_corpus(tmp_path / "in")
    first = write_corpus(from_folder(tmp_path / "in"), tmp_path / "one")
    assert write_corpus(from_folder(tmp_path / "in"), tmp_path / "two") == first
    assert json.loads((tmp_path / "one/manifest.json").read_text()) == first


def test_missing_corpus_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"calibration.json cannot be read"):
        from_folder(tmp_path)


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
