"""The models of suite `paper` by their shapes alone: cells, and what one of their training steps does."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from transformers import AutoConfig

from bench.config.cell import Cell
from bench.config.compose import composed
from bench.config.params import Params
from bench.preflight.seconds import FLOAT
from bench.preflight.shapes import read_shapes
from bench.preflight.workload import Work, work_of
from benchmarks.counted import Operation, count_step
from benchmarks.streaming import MODELS
from swq.methods.rtn import RTN
from swq.methods.tesseraq import TesseraQ

LLAMAS = {"llama-2-7b": 32, "llama-2-13b": 40}  # blocks
SCHEME = "w3a16g128"
SINGLE, HALF = "32-true", "16-mixed"


class Paper:
    """A model of suite `paper`, its cells at one scheme, and the operations of their training steps."""

    def __init__(self, name: str, tokens: int) -> None:
        self.name, self.tokens = name, tokens
        self.params = Params.model_validate(yaml.safe_load(composed("paper")))
        model_type, shape = MODELS[name]
        self.shape = {"model_type": model_type, **shape}
        with tempfile.TemporaryDirectory() as folder:
            config = AutoConfig.for_model(**self.shape, num_hidden_layers=LLAMAS[name], vocab_size=32000)
            config.architectures = ["LlamaForCausalLM"]
            config.save_pretrained(folder)
            self.shapes = read_shapes(Path(folder))
        self._counted: dict[str, list[Operation]] = {}

    def cell(self, row: str, precision: str, directions: int = 0, samples: int | None = None) -> Cell:
        """Return a cell of the suite at another precision, number of directions (0: without SW) or samples a step."""
        cell = self.params.cells[f"paper-{self.name}-{SCHEME}-{row}{'-sw' if directions else ''}"]
        loss, method = cell.loss, cell.method
        if directions and loss is not None:
            loss = replace(loss, n_projections=directions)
        if isinstance(method, TesseraQ) and samples:
            method = replace(method, batch_size=samples)
        return cell.model_copy(update={"precision": precision, "loss": loss, "method": method})

    def work(self, cell: Cell) -> Work:
        """Return the cell's work per block, at this page's number of tokens."""
        return replace(work_of(cell, self.params.calibrations[cell.calibration]), tokens=self.tokens)

    def count(self, cell: Cell) -> list[Operation]:
        """Return the operations of one of the cell's training steps."""
        method = replace(cell.method, start=RTN()) if isinstance(cell.method, TesseraQ) else cell.method
        assert cell.scheme is not None and cell.loss is not None
        half, samples = torch.float16 if cell.precision == HALF else None, self.work(cell).phases[-1].samples
        key = str((method, cell.loss, half))
        if key not in self._counted:
            self._counted[key] = count_step(method, cell.scheme, cell.loss, self.shape, samples, self.tokens, half)
        return self._counted[key]

    def copied(self, cell: Cell) -> float:
        """Return the bytes of a step's inputs and targets."""
        phase = self.work(cell).phases[-1]
        return (1 + phase.targets) * phase.samples * self.tokens * self.shapes.hidden * FLOAT

    def normals(self, cell: Cell) -> int:
        """Return how many random numbers the host draws for a step."""
        work = self.work(cell)
        return work.pooled * self.shapes.hidden * work.directions
