"""The command `speed`: measure what was asked for, with a line of progress, and return the page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from bench.config.params import Params
from bench.runtime import machine, start_fabric
from bench.speed import memory, parts, scoring, step
from bench.speed.page import Measured
from bench.speed.subject import PRECISION, Shapes, Subject
from bench.speed.timing import WARM_UP
from bench.store.files import write_json
from bench.store.record import provenance
from swq.errors import UserError, one_of
from swq.kernels import choose
from swq.quant.scheme import Scheme

STEP, SW, SCORING, MEMORY = PARTS = ("step", "sw", "scoring", "memory")
BAR = "{desc}: {percentage:3.0f} % |{bar}| {elapsed}, {remaining} left"
SHOWN = ("processor", "instruction set", "GPU", "compute capability", "CUDA", "threads", "torch")  # of the machine


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        shapes: of the block.
        scheme: bits and group size.
        tokens: lengths of a sample.
        repeats: rounds that count.
        only: one of `PARTS`; None measures all.
        json: where all numbers are written; None writes none.

    Raises:
        UserError: something of it is not allowed.
    """

    shapes: Shapes
    scheme: Scheme
    tokens: list[int]
    repeats: int
    only: str | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        if self.only is not None and self.only not in PARTS:
            raise UserError(one_of("part of speed", self.only, PARTS))
        if self.repeats < 2 or min(self.tokens, default=0) < 2:
            raise UserError("repeats and tokens must be at least 2")
        if self.json is not None and not self.json.absolute().parent.is_dir():
            raise UserError(f"{self.json} cannot be written: there is no folder {self.json.parent}")
        for width in (self.shapes.hidden, self.shapes.intermediate):
            self.scheme.group(torch.empty(1, width))  # raises where a group does not divide a row

    def wants(self, part: str) -> bool:
        return self.only in (None, part)


def speed(params: Params, request: Request) -> str:
    """Return the page of what `request` asks for.

    Args:
        params: say the device, the threads, and what is scored.
        request: says the rest.

    Raises:
        UserError: scoring alone is asked for, and there is nothing to score.
    """
    fabric = start_fabric(params.runtime, PRECISION)
    kernels = choose.use(params.runtime.kernels, fabric.device)
    found = Measured(_machine(fabric.device) | {"kernels": kernels}, _block(request), request.repeats)
    scores = _scores(params, request, found.notes)

    @lru_cache(maxsize=1)
    def subjects(tokens: int, samples: int) -> Subject:
        return Subject(fabric, request.shapes, request.scheme, tokens, samples)

    with tqdm(total=_work(request, scores), desc="speed", bar_format=BAR, mininterval=1) as bar:
        rounds = (subjects, request.tokens, request.repeats, bar.update)
        if request.wants(STEP):
            found.steps = step.measure_steps(*rounds)
            found.parts = parts.measure_parts(*rounds)
        if request.wants(SW):
            found.shares = parts.measure_shares(*rounds)
        if request.wants(MEMORY):
            found.step_memory = memory.measure_step_memory(
                params.runtime, request.shapes, request.scheme, max(request.tokens), bar.update
            )
        if scores and request.wants(SCORING):
            found.scoring = scoring.measure_scoring(params, bar.update)
        if scores and (request.wants(SCORING) or request.wants(MEMORY)):
            found.scoring_memory = scoring.measure_scoring_memory(params, bar.update)
    if request.json is not None:
        write_json(request.json, found.as_data())
    return found.page()


def _scores(params: Params, request: Request, notes: list[str]) -> bool:
    """Say whether there is something to score; if there is not, note why.

    Raises:
        UserError: there is not, and scoring alone is asked for.
    """
    if request.only in (STEP, SW):
        return False
    try:
        scoring.key_of_model(params)
    except UserError as error:
        if request.only == SCORING:
            raise
        notes.append(f"Not measured: {error}")
        return False
    return True


def _work(request: Request, scores: bool) -> float:
    """Return what all of it costs, in tokens of training: how the line of progress knows the time left."""
    rounds = request.repeats + WARM_UP
    each_round, children = scoring.work()
    total = 0.0
    if request.wants(STEP):
        total += rounds * (step.work(request.tokens) + parts.work(request.tokens))
    if request.wants(SW):
        total += rounds * parts.work_of_shares(request.tokens)
    if request.wants(MEMORY):
        total += memory.work()
    if scores and request.wants(SCORING):
        total += (scoring.ROUNDS + WARM_UP) * each_round
    if scores:
        total += children
    return total


def _machine(device: torch.device) -> dict[str, Any]:
    """Return the line about the machine: the device, its threads, torch and the commit."""
    made_by = provenance()
    commit = (made_by["git_commit"] or "unknown")[:7]
    if made_by["git_commit"] and not made_by["git_clean"]:
        commit += " with changes"
    return {name: value for name, value in machine(device).items() if name in SHOWN} | {"commit": commit}


def _block(request: Request) -> dict[str, Any]:
    return asdict(request.shapes) | {"scheme": str(request.scheme)}
