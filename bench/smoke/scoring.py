"""The suite's full-precision model scored on this device, beside the committed numbers of a CPU."""

from __future__ import annotations

import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from bench.config.params import Params
from bench.inputs.models import ModelRecord
from bench.scoring.harness import score_tasks
from bench.scoring.model import open_model
from bench.scoring.perplexity import score_texts
from bench.store.checksums import check
from bench.store.paths import RESUME, corpus_folder, token_losses_file, used_of
from bench.store.raw import raw_file, read_raw
from bench.store.resume import State
from swq.errors import UserError

STAGE = "smoke-gpu"
LIKELIHOODS = 1e-2  # nats a log-likelihood, and a window's mean loss, may differ by in float32


@dataclass(frozen=True)
class Scored:
    """Full precision here and on the CPU that made results/.

    Attributes:
        cell: that was scored.
        documents: of all tasks.
        answers: that are right on one side only.
        likelihoods: the largest difference of a log-likelihood, in nats.
        windows: of all texts.
        losses: the largest difference of a window's mean loss, in nats a token.
        seconds: of scoring.
    """

    cell: str
    documents: int
    answers: int
    likelihoods: float
    windows: int
    losses: float
    seconds: float

    @property
    def passed(self) -> bool:
        return max(self.likelihoods, self.losses) <= LIKELIHOODS


def score_reference(params: Params, device: torch.device) -> Scored:
    """Score the suite's first full-precision cell on `device`, and compare it with its raw file.

    Raises:
        UserError: the model, the corpus or the raw file is not here.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    cell = next((key for key, cell in params.cells.items() if cell.scheme is None), None)
    if cell is None or not raw_file(params.suite, cell).is_file():
        raise UserError(
            f"suite {params.suite} has no committed numbers of a full-precision cell; `python -m bench compose bundled`"
            " goes to one that has"
        )
    known, protocol, model = read_raw(raw_file(params.suite, cell)), params.protocol, params.cells[cell].model
    where = known.records.score.model_dump().get("device")
    if where != "cpu":
        raise UserError(f"the numbers of cell {cell} are of {where} and not of a CPU; git has those that came with it")
    record, corpus = ModelRecord.load(model), corpus_folder(protocol.corpus)
    check(corpus, used_of(corpus, protocol.perplexity.texts, protocol.tasks))
    record.check_weights(model)
    tokenizer, began = record.tokenizer(), time.perf_counter()
    state = State(STAGE, {"began": time.time_ns()})
    try:
        opened = open_model(record, None, protocol.dtype, device)
        with TemporaryDirectory() as folder:
            texts = score_texts(lambda: opened, None, tokenizer, protocol, corpus, device, state, Path(folder))
            found = {name: np.load(token_losses_file(Path(folder), name)) for name in texts.perplexity}
        items = score_tasks(lambda: opened, tokenizer, protocol, corpus, state).items
    finally:
        shutil.rmtree(RESUME / STAGE, ignore_errors=True)
    seconds = time.perf_counter() - began
    losses = [
        abs(mean - (math.inf if theirs is None else theirs))
        for name, values in found.items()
        for mean, theirs in zip(values.mean(axis=1, dtype=np.float64), known.window_losses[name], strict=True)
    ]
    likelihoods = [
        abs((math.inf if ours is None else ours) - (math.inf if theirs is None else theirs))
        for item, other in zip(items, known.items, strict=True)
        for ours, theirs in zip(item.log_likelihoods, other.log_likelihoods, strict=True)
    ]
    return Scored(
        cell=cell,
        documents=len(items),
        answers=sum(item.correct != other.correct for item, other in zip(items, known.items, strict=True)),
        likelihoods=max(likelihoods),
        windows=len(losses),
        losses=max(losses),
        seconds=seconds,
    )
