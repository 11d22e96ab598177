"""The command `smoke-gpu`: every check in turn, with a line of progress, then a page and a JSON file to send in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import torch
from lightning.fabric import Fabric
from tqdm import tqdm
from transformers.utils import logging

from bench.config.params import Params
from bench.runtime import machine, start_fabric
from bench.smoke.blocks import METHODS, PRECISIONS, one_line, train
from bench.smoke.page import Found
from bench.smoke.replay import replay_all
from bench.smoke.scoring import score_reference
from bench.smoke.steps import measure
from bench.speed.run import BAR
from bench.speed.subject import CASES, Shapes
from bench.store.files import write_json
from bench.store.record import provenance
from swq.errors import UserError
from swq.kernels import choose

LLAMA_2_7B = Shapes(hidden=4096, intermediate=11008, heads=32, kv_heads=32)


@dataclass(frozen=True)
class Request:
    """What to check.

    Attributes:
        json: where all numbers are written.
        on_cpu: check the processor instead, where 16-mixed does not run.
        shapes: of the random block.
        tokens: of its samples.

    Raises:
        UserError: the file cannot be written.
    """

    json: Path
    on_cpu: bool = False
    shapes: Shapes = field(default_factory=lambda: LLAMA_2_7B)
    tokens: int = 2048

    def __post_init__(self) -> None:
        if self.json.is_dir():
            raise UserError(f"{self.json} is a folder; the numbers need a file")
        if not self.json.absolute().parent.is_dir():
            raise UserError(f"{self.json} cannot be written: there is no folder {self.json.parent}")
        if self.tokens < 2:
            raise UserError("tokens must be at least 2")


def smoke(params: Params, request: Request) -> Found:
    """Check this machine's GPU, and write what was found.

    Args:
        params: say the threads, and what is scored.
        request: says the rest.

    Raises:
        UserError: there is no GPU, or the recordings are not here.
    """
    if not request.on_cpu and not torch.cuda.is_available():
        raise UserError("torch sees no GPU here; --cpu checks the processor instead")
    wanted = params.runtime.model_copy(update={"device": "cpu" if request.on_cpu else "gpu"})
    precisions = [p for p in PRECISIONS if not (request.on_cpu and p == "16-mixed")]

    @cache
    def fabric_of(precision: str) -> Fabric:
        return start_fabric(wanted, precision)

    logging.disable_progress_bar()  # of transformers, in the middle of our line
    device = fabric_of("32-true").device
    choose.use(wanted.kernels, device)
    found = Found(machine(device), provenance())
    steps = 2 + len(precisions) * (len(METHODS) + len(CASES))
    with tqdm(total=steps, desc="smoke-gpu", bar_format=BAR, mininterval=1) as bar:
        with _noted(found, "recorded runs"):
            found.replays = replay_all(fabric_of("32-true"))
        bar.update()
        for precision, name in product(precisions, METHODS):
            found.trained.append(train(fabric_of, precision, name, request.shapes, request.tokens))
            bar.update()
        with _noted(found, "steps"):
            for precision, case in product(precisions, CASES):
                step = measure(fabric_of(precision), precision, case, request.shapes, request.tokens)
                found.steps.append(step)
                bar.update()
        with _noted(found, "scoring"):
            try:
                found.scored = score_reference(params, device)
            except UserError as error:
                found.notes.append(f"Scoring was not checked: {error}")
        bar.update()
    write_json(request.json, found.as_data())
    return found


@contextmanager
def _noted(found: Found, part: str) -> Iterator[None]:
    """Note whatever goes wrong but a user's mistake: it is what this command looks for, and stops no other part."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found.errors[part] = one_line(error)
