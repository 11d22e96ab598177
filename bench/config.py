"""The configuration, typed and validated once. `params.yaml` is read here and nowhere else.

Unknown keys and impossible values end in one line that names the key, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.cell import Cell
from bench.seeds import check_seeds, rows_of
from bench.sources import CorpusSource, HubCorpus, ModelSource, text_names
from bench.strict import Name, Strict, mistake, read_section
from bench.tasks import TASKS
from swq.errors import one_of

PARAMS = Path("params.yaml")


class Training(Strict):
    """A small OPT to be trained on a corpus's training text."""

    corpus: str
    vocab_size: int = Field(ge=300)
    hidden_size: int = Field(ge=8)
    n_blocks: int = Field(ge=1)
    n_heads: int = Field(ge=1)
    seq_len: int = Field(ge=2)
    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    lr: float = Field(gt=0, lt=float("inf"))
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _heads_divide(self) -> Training:
        if self.hidden_size % self.n_heads:
            message = f"n_heads {self.n_heads} does not divide hidden_size {self.hidden_size}"
            raise mistake(message)
        return self


class Calibration(Strict):
    """Calibration tokens: `n_samples` windows of `seq_len` tokens; `seed` decides which.

    `sampling` names how (swq/calibration.py): `windows` is ours, the others are those of the published recipes.
    """

    model: str
    corpus: str
    text: Name = "calibration"
    sampling: Literal["windows", "gptq-joined", "gptq-documents", "awq-packed"] = "windows"
    n_samples: int = Field(ge=1)
    seq_len: int = Field(ge=2)
    seed: int = Field(ge=0)


class ScoredText(Strict):
    """How one text is cut into windows.

    `windows` takes the first `n_windows` non-overlapping ones of the joined text (null: all), as GPTQ's code does with
    WikiText2; `gptq-documents` one window each of `n_windows` random documents, as it does with C4.
    """

    sampling: Literal["windows", "gptq-documents"] = "windows"
    n_windows: int | None = Field(default=None, ge=2)  # of one alone no interval is known
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _documents_are_counted(self) -> ScoredText:
        if self.sampling == "gptq-documents" and self.n_windows is None:
            raise mistake("sampling gptq-documents needs n_windows (C4's published numbers: 256)")
        return self


class Perplexity(Strict):
    """Perplexity by the GPTQ protocol, on each of some texts of the protocol's corpus."""

    seq_len: int = Field(ge=2)
    texts: dict[Name, ScoredText] = Field(min_length=1)


class Protocol(Strict):
    """How every cell is scored. Tables never mix two protocols."""

    corpus: str
    tasks: tuple[str, ...] = Field(min_length=1)
    task_versions: dict[str, float] | None = None  # lm-eval's; where given, another version is an error
    metric: Literal["acc"] = "acc"
    n_shots: Literal[0] = 0
    limit: int | None = Field(default=None, ge=1)  # first documents of each task; null takes all
    batch_size: int = Field(ge=1)
    add_bos_token: bool
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"  # of the weights and activations while scoring
    perplexity: Perplexity

    @model_validator(mode="after")
    def _known_tasks(self) -> Protocol:
        for task in self.tasks:
            if task not in TASKS:
                raise mistake(one_of("task", task, TASKS))
        if len(set(self.tasks)) < len(self.tasks):
            raise mistake("tasks: each may be named once")
        if self.task_versions is not None and set(self.task_versions) != set(self.tasks):
            raise mistake("task_versions: must name every task of the protocol, and no other")
        return self


class Runtime(Strict):
    """Where and with how many threads. Both decide the last bits of a result, so both are pinned and recorded."""

    device: Literal["auto", "cpu", "gpu"]
    threads: int = Field(ge=1)


class Report(Strict):
    """What the tables compare: each cell with the one whose loss it is meant to recover."""

    baselines: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Params(Strict):
    """The whole of params.yaml."""

    suite: Name
    runtime: Runtime
    models: dict[Name, ModelSource] = Field(default_factory=dict)  # to be fetched
    trainings: dict[Name, Training] = Field(default_factory=dict)  # models to be trained here
    corpora: dict[Name, CorpusSource]
    calibrations: dict[Name, Calibration]
    protocol: Protocol
    cells: dict[Name, Cell] = Field(min_length=1)
    report: Report = Field(default_factory=Report)

    @model_validator(mode="after")
    def _references(self) -> Params:
        def check(place: str, kind: str, name: str, allowed: Iterable[str]) -> None:
            if name not in allowed:
                message = f"{place}: {one_of(kind, name, allowed)}"
                raise mistake(message)

        models = [*self.models, *self.trainings]
        for key in self.trainings:
            if key in self.models:
                message = f"trainings.{key}: the name is taken; models.{key} is another model"
                raise mistake(message)
        for key, training in self.trainings.items():
            own = [name for name, source in self.corpora.items() if not isinstance(source, HubCorpus)]
            check(f"trainings.{key}.corpus", "corpus with a training text", training.corpus, own)
        for key, calibration in self.calibrations.items():
            check(f"calibrations.{key}.model", "model", calibration.model, models)
            check(f"calibrations.{key}.corpus", "corpus", calibration.corpus, self.corpora)
            texts = text_names(self.corpora[calibration.corpus])
            check(f"calibrations.{key}.text", f"text of corpus {calibration.corpus}", calibration.text, texts)
        check("protocol.corpus", "corpus", self.protocol.corpus, self.corpora)
        scored = self.corpora[self.protocol.corpus]
        for text in self.protocol.perplexity.texts:
            check("protocol.perplexity.texts", f"text of corpus {self.protocol.corpus}", text, text_names(scored))
        if isinstance(scored, HubCorpus):
            for task in self.protocol.tasks:
                check("protocol.tasks", f"task of corpus {self.protocol.corpus}", task, scored.tasks)
        for key, cell in self.cells.items():
            check(f"cells.{key}.model", "model", cell.model, models)
            fitting = [name for name, c in self.calibrations.items() if c.model == cell.model]
            check(f"cells.{key}.calibration", f"calibration of model {cell.model}", cell.calibration, fitting)
            seq_len = self.calibrations[cell.calibration].seq_len
            if cell.loss and seq_len % cell.loss.sw_block_size:
                given = f"cells.{key}.loss.sw_block_size: {cell.loss.sw_block_size}"
                message = f"{given} does not divide the {seq_len} tokens of a sample of {cell.calibration}"
                raise mistake(message)
        for key, baseline in self.report.baselines.items():
            check("report.baselines", "cell", key, self.cells)
            check(f"report.baselines.{key}", "cell", baseline, self.cells)
            self._check_comparable(key, baseline)
            if self.reference(key) is None:
                message = (
                    f"report.baselines.{key}: the suite has no full-precision cell of model {self.cells[key].model}"
                )
                raise mistake(message)
        return self

    @model_validator(mode="after")
    def _seeds(self) -> Params:
        check_seeds(self)
        return self

    def _check_comparable(self, key: str, baseline: str) -> None:
        """A share of what another scheme or another model lost would mean nothing."""
        cell, base = self.cells[key], self.cells[baseline]
        if key == baseline:
            raise mistake(f"report.baselines.{key}: a cell cannot be its own base")
        for what, ours, theirs in (("model", cell.model, base.model), ("scheme", cell.scheme, base.scheme)):
            if ours != theirs:
                message = (
                    f"report.baselines.{key}: a base must be another cell of the same {what};"
                    f" {key} has {ours}, {baseline} has {theirs}"
                )
                raise mistake(message)

    def made_with(self, key: str) -> dict[str, Any]:
        """Return the sections that decide cell `key`'s artefact beside its recipe, as JSON would hold them."""
        cell = self.cells[key]
        source = self.models.get(cell.model) or self.trainings[cell.model]
        parts: dict[str, Any] = {"model": source.model_dump(mode="json")}
        if cell.method.needs_calibration:
            calibration = self.calibrations[cell.calibration]
            corpus = self.corpora[calibration.corpus]
            parts |= {"calibration": calibration.model_dump(mode="json"), "corpus": corpus.model_dump(mode="json")}
        return parts

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells that make up one row of a table: those that differ in their seeds alone, together."""
        return rows_of(self)

    @property
    def several_seeds(self) -> bool:
        """Whether some row has more than one cell."""
        return any(len(keys) > 1 for keys in self.rows())

    def scored_with(self) -> dict[str, Any]:
        """Return the sections that decide how cells are scored, as JSON would hold them."""
        corpus = self.corpora[self.protocol.corpus]
        return {"protocol": self.protocol.model_dump(mode="json"), "corpus": corpus.model_dump(mode="json")}

    def reference(self, key: str) -> str | None:
        """Return the full-precision cell of the same model as cell `key`, if the suite has one."""
        model = self.cells[key].model
        return next((k for k, c in self.cells.items() if c.model == model and not c.method.needs_scheme), None)


def load_params(path: Path = PARAMS) -> Params:
    """Read and validate a params file.

    Raises:
        UserError: one line that names the key, the value and what is allowed.
    """
    return read_section(Params, path)
