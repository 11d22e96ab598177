"""A killed score goes on at the window of a text, or at the task, and ends with the numbers of a calm one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config.params import Params
from bench.scoring import model as scored_models
from bench.stages.reconstruct import reconstruct
from bench.stages.score import score
from bench.store.files import read_json
from swq.pieces import Pieces
from tests.support.prepared import prepared

KEY = "tiny-rtn"
RESULTS = ("items.jsonl", "summary.json", "token_losses/perplexity.npy")


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Params]:
    """The tiny suite with one cell that is ready to be scored."""
    folder = tmp_path_factory.mktemp("scoring")
    with pytest.MonkeyPatch.context() as patch:
        made = prepared(folder, patch)
        reconstruct(made, KEY)
        score(made, KEY)
        yield made


def results() -> dict[str, bytes]:
    return {name: (Path("scores") / KEY / name).read_bytes() for name in RESULTS}


def pieces() -> list[Path]:
    return sorted(Path(".resume").glob(f"score@{KEY}/*/*.safetensors"))


def test_every_window_and_every_task_is_kept(params: Params) -> None:
    names = [path.stem for path in pieces()]
    windows = [f"text_perplexity_{index:05d}" for index in range(4)]
    assert names == sorted([*(f"task_{task}" for task in params.protocol.tasks), *windows])


def test_finished_score_is_read_back_without_a_model(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = results()
    monkeypatch.setattr(scored_models, "open_model", lambda *_: pytest.fail("opened"))
    score(params, KEY)
    assert results() == calm


@pytest.mark.parametrize(
    "left", [["text_perplexity_00001"], ["task_piqa"], ["text_perplexity_00000", "task_hellaswag"]]
)
def test_what_is_missing_is_scored_and_nothing_else(
    params: Params, monkeypatch: pytest.MonkeyPatch, left: list[str]
) -> None:
    """Its numbers do not depend on whether other tasks and windows were scored in the same run."""
    calm, kept = results(), []
    for path in pieces():
        if path.stem in left:
            path.unlink()
    save = Pieces.save
    monkeypatch.setattr(Pieces, "save", lambda self, name, *rest: (kept.append(name), save(self, name, *rest)))
    score(params, KEY)
    assert kept == sorted(left, key=lambda name: name.startswith("task")) and results() == calm


def test_no_batch_holds_documents_of_two_tasks(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task runs the model alone, so a batch of four begins anew with every task."""
    from lm_eval.models.huggingface import HFLM

    called: list[set[str]] = []
    loglikelihood = HFLM.loglikelihood

    def noting(self: Any, requests: list[Any], *rest: Any, **more: Any) -> Any:
        called.append({request.task_name for request in requests})
        return loglikelihood(self, requests, *rest, **more)

    for path in pieces():
        path.unlink()
    monkeypatch.setattr(HFLM, "loglikelihood", noting)
    score(params, KEY)
    assert called == [{task} for task in params.protocol.tasks]


def test_time_of_what_was_read_back_counts(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the time of the run that reads back: here seven seconds, by a clock that is read at its begin and end."""
    clock = SimpleNamespace(perf_counter=iter([0.0, 7.0]).__next__)
    monkeypatch.setattr("bench.store.record.time", clock)
    kept = Pieces(pieces()[0].parent)
    took = sum(found[1]["seconds"] for name in kept.names() if (found := kept.load(name)))
    score(params, KEY)
    record = read_json(Path("scores") / KEY / "record.json")
    assert record["wall_seconds"] > record["resumed_seconds"] > 0
    assert record["resumed_seconds"] == pytest.approx(took, abs=0.01)
    assert record["wall_seconds"] == pytest.approx(took + 7.0, abs=0.01)
