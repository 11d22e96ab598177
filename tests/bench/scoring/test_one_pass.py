"""One pass a document gives lm-eval's own numbers: for every task, every family, and every way to lay choices out."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.config.protocol import Protocol
from bench.prepare.corpus_folder import write_corpus
from bench.prepare.readers import from_folder
from bench.scoring.harness import _load_tasks, _Task
from bench.scoring.one_pass import OnePass, _logits_at
from tests.support import tiny_suite
from tests.support.families import FAMILIES, SCORED, UNKNOWN, tiny_lm

TASKS = ("winogrande", "hellaswag", "arc_challenge", "arc_easy", "piqa", "boolq")
# ALiBi by places in a row, a state, a window of 8 tokens
FALL_BACK = {"bloom", "falcon-alibi", "mamba", "mistral", "gemma2", "gemma3"}
TOLERANCE = 1e-4
Answers = list[list[tuple[float, bool]]]


class Scored(NamedTuple):
    """Tasks as lm-eval loads them, and the tokenizer that they are scored with."""

    tasks: dict[str, _Task]
    tokenizer: PreTrainedTokenizerBase


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    folder = tmp_path_factory.mktemp("one_pass")
    tiny_suite.write_corpus(folder / "raw")
    boolq = [{"passage": f"The {w} runs.", "question": f"does {w} run", "label": 1} for w in tiny_suite.WORDS[:6]]
    (folder / "raw/boolq.json").write_text(json.dumps(boolq))
    write_corpus(from_folder(folder / "raw"), folder / "corpus")
    protocol = Protocol.model_validate(
        {
            "corpus": "words",
            "tasks": TASKS,
            "batch_tokens": 64,
            "add_bos_token": False,
            "perplexity": {"seq_len": 2, "texts": {"perplexity": {}}},
        }
    )
    return Scored(_load_tasks(folder, protocol, folder / "corpus"), tiny_suite.write_tokenizer(folder / "tokenizer"))


def model_for(name: str, tokenizer: PreTrainedTokenizerBase, **changes: Any) -> PreTrainedModel:
    return tiny_lm(name, **{"vocab_size": len(tokenizer), "max_position_embeddings": 256} | changes)


def plain(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> HFLM:
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, add_bos_token=False, softmax_dtype="float32")


def answers(model: HFLM, task: _Task) -> tuple[Answers, list[float]]:
    """Return each document's answers to its choices, and whether lm-eval counts it as right."""
    results: Any = evaluate(model, task.loaded, bootstrap_iters=0, log_samples=True)
    ((_, samples),) = results["samples"].items()
    samples = sorted(samples, key=lambda sample: sample["doc_id"])
    return [sample["filtered_resps"] for sample in samples], [sample["acc"] for sample in samples]


def assert_equal(ours: Answers, theirs: Answers) -> None:
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert [value for value, _ in our] == pytest.approx([value for value, _ in their], abs=TOLERANCE, rel=0)
        assert [greedy for _, greedy in our] == [greedy for _, greedy in their]


@pytest.mark.parametrize("name", [*FAMILIES, *UNKNOWN, *SCORED])
def test_every_task_reads_as_lm_eval_alone_reads_it(
    scored: Scored, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rotary, learned and ALiBi positions, sliding windows, capped logits, and a model without attention."""
    model = model_for(name, scored.tokenizer)
    ours, theirs = OnePass(model, scored.tokenizer, 64, False), plain(model, scored.tokenizer)
    for task in scored.tasks.values():
        (our_answers, our_right), (their_answers, their_right) = answers(ours, task), answers(theirs, task)
        assert_equal(our_answers, their_answers)
        assert our_right == their_right
        assert (ours.unpacked_because is not None) == (name in FALL_BACK), ours.unpacked_because
    said = [line for line in capsys.readouterr().out.splitlines() if "one by one" in line]
    assert len(said) == (len(scored.tasks) if name in FALL_BACK else 0)


def test_window_that_no_document_exceeds_is_no_reason_to_fall_back(scored: Scored) -> None:
    model = model_for("mistral", scored.tokenizer, sliding_window=200)
    ours = OnePass(model, scored.tokenizer, 64, False)
    for task in scored.tasks.values():
        assert_equal(answers(ours, task)[0], answers(plain(model, scored.tokenizer), task)[0])
        assert ours.unpacked_because is None


def asked(*documents: list[tuple[str, str]]) -> list[Instance]:
    """Return requests for documents, each a list of (context, choice)."""
    return [
        Instance("loglikelihood", {}, pair, place, metadata=("made_up", number, 1))
        for number, document in enumerate(documents)
        for place, pair in enumerate(document)
    ]


ODD = {
    "one token": [("the red", " river"), ("the red", " city")],
    "one choice": [("the old house", " lives near the river")],
    "equal choices": [("a train", " runs runs"), ("a train", " runs runs")],
    "one choice begins the other": [("a train", " runs"), ("a train", " runs the river")],
    "nothing shared": [("the river", " runs"), ("small music", " lives a city")],
    "same context in the next document": [("the red", " garden"), ("the red", " music")],
    "no context": [("", "the river runs"), ("", "the small city lives")],
    "space at the end": [("the red ", "river"), ("the red ", "city")],
    "too long for the model": [("the old " * 200, " river runs"), ("the old " * 200, " city")],
}


@pytest.mark.parametrize("max_tokens", [1, 40, 4096])
def test_odd_documents_and_batches_of_any_size(scored: Scored, max_tokens: int) -> None:
    model = model_for("llama-grouped", scored.tokenizer)
    requests = asked(*ODD.values())
    ours = OnePass(model, scored.tokenizer, max_tokens, False).loglikelihood(requests)
    assert_equal([ours], [plain(model, scored.tokenizer).loglikelihood(requests, disable_tqdm=True)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_packed_and_close(scored: Scored, dtype: torch.dtype) -> None:
    model = model_for("llama", scored.tokenizer).to(dtype)
    ours, theirs = OnePass(model, scored.tokenizer, 64, False), plain(model, scored.tokenizer)
    for task in scored.tasks.values():
        one, other = (torch.tensor([v for doc in answers(lm, task)[0] for v, _ in doc]) for lm in (ours, theirs))
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2)
        assert ours.unpacked_because is None


def test_model_that_diverged_is_no_reason_to_fall_back(scored: Scored) -> None:
    model = model_for("llama", scored.tokenizer)
    model.get_output_embeddings().weight.data.fill_(torch.nan)
    ours = OnePass(model, scored.tokenizer, 64, False)
    found, _ = answers(ours, scored.tasks["piqa"])
    assert all(value != value for document in found for value, _ in document)
    assert ours.unpacked_because is None


def test_every_document_runs_once_and_logits_are_computed_where_they_are_read(scored: Scored) -> None:
    """Counted at the model's embedding and at its head, behind the trial of whether documents can be packed."""
    model = model_for("llama", scored.tokenizer)
    ours = OnePass(model, scored.tokenizer, 4096, False)
    ours._why_unpacked = lambda rows, choices: None  # type: ignore[method-assign]
    seen = SimpleNamespace(rows=0, read=0)
    model.get_input_embeddings().register_forward_pre_hook(lambda _, given: setattr(seen, "rows", len(given[0])))
    model.get_output_embeddings().register_forward_hook(lambda *given: setattr(seen, "read", given[2].shape[1]))
    requests = asked(*(ODD[name] for name in ("one token", "equal choices", "one choice begins the other")))
    ours.loglikelihood(requests)
    assert seen.rows == 3
    tokens = [len(scored.tokenizer(text)["input_ids"]) for text in (" river", " runs runs", " runs the river")]
    # Places that two choices read stand in the shared tokens: once.
    assert seen.read == sum(tokens)


def test_long_document_with_nothing_side_by_side_vouches_for_no_other(scored: Scored) -> None:
    """A model with a state reads choices of one token as alone, however long their context is."""
    model = model_for("mamba", scored.tokenizer)
    ours, theirs = OnePass(model, scored.tokenizer, 64, False), plain(model, scored.tokenizer)
    one_token = asked([("the red river runs " * 20, "the"), ("the red river runs " * 20, "a")])
    longer = asked([("the old house", " lives near the river"), ("the old house", " runs near the city")])
    assert_equal([ours.loglikelihood(longer)], [theirs.loglikelihood(longer, disable_tqdm=True)])
    assert ours.unpacked_because
    for requests in (one_token, longer):
        assert_equal([ours.loglikelihood(requests)], [theirs.loglikelihood(requests, disable_tqdm=True)])
    assert ours.unpacked_because


def test_hook_on_the_head_goes_with_the_pass(scored: Scored) -> None:
    model = model_for("llama", scored.tokenizer)
    with pytest.raises(ZeroDivisionError), _logits_at(model, torch.tensor([0])):
        raise ZeroDivisionError
    assert model(torch.zeros(1, 3, dtype=torch.long)).logits.shape[1] == 3
