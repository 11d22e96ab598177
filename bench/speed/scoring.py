"""Scoring: the product's language model against lm-eval's own, on the same requests."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil
import torch

from bench.config.params import Params
from bench.config.protocol import Protocol
from bench.inputs.models import ModelRecord
from bench.runtime import free_memory, start
from bench.speed.memory import in_child, peak_of
from bench.speed.step import OURS, PLAIN
from bench.speed.timing import Times, interleaved, now
from bench.store.checksums import check
from bench.store.paths import corpus_folder, used_of
from swq.errors import UserError
from swq.models.adapter import DecoderModel
from swq.streaming import stream

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SIDES = (OURS, PLAIN)
DOCUMENTS = 50  # of each task
PLAIN_BATCH = 16  # requests that lm-eval reads at a time
ROUNDS = 3  # a round takes long enough to be steady
WIDE = 262_144  # words of a large vocabulary, as of Gemma
CHILD = 100_000  # tokens of training that scoring in a new process takes as long as, about
ROUND = 150_000  # and a round


@dataclass(frozen=True)
class ScoringTimes:
    """What scoring takes, and how far the two sides' answers lie apart.

    Attributes:
        model: by its name in params.yaml.
        requests: log-likelihoods asked for in each round.
        times: seconds by side.
        difference: largest difference of a log-likelihood, in nats.
        answers: documents that one side answers right and the other wrong.
        documents: how many were scored.
    """

    model: str
    requests: int
    times: Times
    difference: float
    answers: int
    documents: int


@dataclass(frozen=True)
class ScoringPeak:
    """Peak bytes of scoring the longest documents, above the model; None where memory would not do."""

    vocabulary: int
    peaks: dict[str, int | None]


@dataclass(frozen=True)
class _Scored:
    """A model as it is scored, and what is asked of it, task by task."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    protocol: Protocol
    requests: dict[str, list[Any]]  # lm-eval's instances
    golds: dict[str, dict[int, int]]  # index of the right choice, by document


def language_model(side: str, scored: _Scored) -> LM:
    """Return the product's language model or lm-eval's. This is the one place that knows how each is made."""
    from lm_eval.models.huggingface import HFLM

    from bench.scoring.harness import _language_model

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns that it was given a model and no name
    if side == OURS:
        return _language_model(scored.model, scored.tokenizer, scored.protocol)
    return HFLM(
        pretrained=scored.model,
        tokenizer=scored.tokenizer,
        batch_size=PLAIN_BATCH,
        add_bos_token=scored.protocol.add_bos_token,
        softmax_dtype="float32",
    )


def key_of_model(params: Params) -> str:
    """Return the model that is scored: that of the suite's first cell, in full precision.

    Raises:
        UserError: the model or the corpus is not there.
    """
    key = next(iter(params.cells.values())).model
    try:
        ModelRecord.load(key)
        corpus = corpus_folder(params.protocol.corpus)
        check(corpus, used_of(corpus, (), params.protocol.tasks))
    except UserError as error:
        raise UserError(
            f"scoring needs the model and the corpus of params.yaml, which `make repro` fetches ({error})"
        ) from error
    return key


def measure_scoring(params: Params, on_round: Callable[[float], object]) -> ScoringTimes:
    """Score the first documents of every task in turns, and compare the answers.

    Raises:
        UserError: as `key_of_model`.
    """
    key = key_of_model(params)
    device = start(params.runtime)
    with TemporaryDirectory() as folder:
        scored = _open(params, device, Path(folder))
        models = {side: language_model(side, scored) for side in SIDES}
        answers: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}

        def scoring(side: str) -> Callable[[], float]:
            def run() -> float:
                began = now(device)
                with redirect_stderr(StringIO()):  # a bar of each task
                    for task, requests in scored.requests.items():
                        answers[side][task] = [value for value, _ in models[side].loglikelihood(requests, True)]
                return now(device) - began

            return run

        times = interleaved({side: scoring(side) for side in SIDES}, ROUNDS, lambda: on_round(ROUND))
    pairs = [pair for task in scored.requests for pair in zip(*(answers[side][task] for side in SIDES), strict=True)]
    right = {side: {task: _right(scored, task, answers[side][task]) for task in scored.requests} for side in SIDES}
    return ScoringTimes(
        model=key,
        requests=len(pairs),
        times=times,
        difference=max(abs(ours - plain) for ours, plain in pairs),
        answers=sum(len(right[OURS][task] ^ right[PLAIN][task]) for task in scored.requests),
        documents=sum(map(len, scored.golds.values())),
    )


def measure_scoring_memory(params: Params, on_child: Callable[[float], object]) -> list[ScoringPeak]:
    """Measure the longest documents, a batch of lm-eval's, with the model's own head and with one of `WIDE` words.

    Raises:
        UserError: as `key_of_model`.
    """
    key_of_model(params)
    found = []
    for vocabulary in (None, WIDE):
        measured = {}
        for side in SIDES:
            measured[side] = in_child(_scoring_peak, params, side, vocabulary)
            on_child(CHILD)
        found.append(ScoringPeak(measured[OURS][0], {side: measured[side][1] for side in SIDES}))
    return found


def work() -> tuple[float, float]:
    """Return what a round and all children cost, in tokens of training."""
    return ROUND, 2 * len(SIDES) * CHILD


def _open(params: Params, device: torch.device, folder: Path) -> _Scored:
    from bench.scoring.harness import _load_tasks

    limit = min(params.protocol.limit or DOCUMENTS, DOCUMENTS)
    protocol = params.protocol.model_copy(update={"limit": limit})
    record = ModelRecord.load(key_of_model(params))
    decoder = DecoderModel.open(record.folder, getattr(torch, protocol.dtype))
    model, _ = stream(decoder, device, free_memory(device))
    requests, golds = {}, {}
    with redirect_stderr(StringIO()):  # bars of lm-eval and datasets would break the line of progress
        for name, task in _load_tasks(folder, protocol, corpus_folder(protocol.corpus)).items():
            loaded = task.loaded["tasks"][name]
            loaded.build_all_requests(limit=limit, rank=0, world_size=1)
            requests[name], golds[name] = loaded.instances, task.golds
    return _Scored(model, record.tokenizer(), protocol, requests, golds)


def _right(scored: _Scored, task: str, likelihoods: list[float]) -> set[int]:
    """Return the documents whose likeliest choice is the right one."""
    choices: dict[int, list[float]] = {}
    for request, value in zip(scored.requests[task], likelihoods, strict=True):
        choices.setdefault(request.doc_id, []).append(value)
    return {doc for doc, values in choices.items() if values.index(max(values)) == scored.golds[task][doc]}


def _scoring_peak(params: Params, side: str, vocabulary: int | None) -> tuple[int, int | None]:
    """Return the words of the head, and the peak of scoring with it."""
    device = start(params.runtime)
    with TemporaryDirectory() as folder:
        scored = _open(params, device, Path(folder))
        if vocabulary is not None:
            scored.model.resize_token_embeddings(vocabulary, mean_resizing=False)
        words = scored.model.get_output_embeddings().weight.shape[0]
        longest = _longest(scored)
        tokens = max(len(scored.tokenizer("".join(request.args))["input_ids"]) for request in longest)
        # Logits and their logarithms, in float32, and a copy.
        if 3 * 4 * len(longest) * tokens * words > _available(device):
            return words, None
        model = language_model(side, scored)
        with redirect_stderr(StringIO()):
            return words, peak_of(lambda: model.loglikelihood(longest, True), device)


def _longest(scored: _Scored) -> list[Any]:
    """Return the requests of the documents with the longest requests, enough for a batch of lm-eval's."""
    documents: dict[tuple[str, int], list[Any]] = {}
    for task, requests in scored.requests.items():
        for request in requests:
            documents.setdefault((task, request.doc_id), []).append(request)
    ranked = sorted(documents.values(), key=lambda requests: -max(sum(map(len, r.args)) for r in requests))
    return [request for requests in ranked for request in requests][:PLAIN_BATCH]


def _available(device: torch.device) -> int:
    return psutil.virtual_memory().available if device.type == "cpu" else free_memory(device)
