"""The configuration as a whole. `params.yaml` is read here and nowhere else.

For unknown keys and impossible values, a one-line error names the key, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from bench.config.cell import Cell
from bench.config.plan import Plan, check_plan
from bench.config.protocol import Protocol
from bench.config.sections import Calibration, Report, Runtime, Training
from bench.config.seeds import SeedGroup, check_seeds, seed_groups
from bench.config.sources import CorpusSource, HubCorpus, ModelSource, text_names
from bench.config.strict import Name, Strict, mistake, read_section
from swq.errors import one_of
from swq.identity import fingerprint

PARAMS = Path("params.yaml")


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
    plan: Plan | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        """Check that every name that one section takes from another exists and fits."""
        self._check_trainings()
        self._check_calibrations()
        self._check_protocol()
        self._check_cells()
        self._check_baselines()
        check_seeds(self.cells, self.calibrations, self.report.baselines)
        if self.plan:
            check_plan(self.plan, self.suite, self.cells, self.report.baselines, self.protocol)
        return self

    def _check_trainings(self) -> None:
        own = [name for name, source in self.corpora.items() if not isinstance(source, HubCorpus)]
        for key, training in self.trainings.items():
            if key in self.models:
                raise mistake(f"trainings.{key}: the name is taken; models.{key} is another model")
            _check(f"trainings.{key}.corpus", "corpus with a training text", training.corpus, own)

    def _check_calibrations(self) -> None:
        for key, calibration in self.calibrations.items():
            _check(f"calibrations.{key}.model", "model", calibration.model, [*self.models, *self.trainings])
            _check(f"calibrations.{key}.corpus", "corpus", calibration.corpus, self.corpora)
            texts = text_names(self.corpora[calibration.corpus])
            _check(f"calibrations.{key}.text", f"text of corpus {calibration.corpus}", calibration.text, texts)

    def _check_protocol(self) -> None:
        name = self.protocol.corpus
        _check("protocol.corpus", "corpus", name, self.corpora)
        scored = self.corpora[name]
        for text in self.protocol.perplexity.texts:
            _check("protocol.perplexity.texts", f"text of corpus {name}", text, text_names(scored))
        if isinstance(scored, HubCorpus):
            for task in self.protocol.tasks:
                _check("protocol.tasks", f"task of corpus {name}", task, scored.tasks)

    def _check_cells(self) -> None:
        for key, cell in self.cells.items():
            _check(f"cells.{key}.model", "model", cell.model, [*self.models, *self.trainings])
            fitting = [name for name, c in self.calibrations.items() if c.model == cell.model]
            _check(f"cells.{key}.calibration", f"calibration of model {cell.model}", cell.calibration, fitting)
            seq_len = self.calibrations[cell.calibration].seq_len
            if cell.loss and seq_len % cell.loss.sw_block_size:
                given = f"cells.{key}.loss.sw_block_size: {cell.loss.sw_block_size}"
                raise mistake(f"{given} does not divide the {seq_len} tokens of a sample of {cell.calibration}")

    def _check_baselines(self) -> None:
        for key, baseline in self.report.baselines.items():
            _check("report.baselines", "cell", key, self.cells)
            _check(f"report.baselines.{key}", "cell", baseline, self.cells)
            self._check_comparable(key, baseline)
            if self.reference(key) is None:
                model = self.cells[key].model
                raise mistake(f"report.baselines.{key}: the suite has no full-precision cell of model {model}")

    def _check_comparable(self, key: str, baseline: str) -> None:
        """Check that a base fits: a share of what another scheme or another model lost would mean nothing."""
        cell, base = self.cells[key], self.cells[baseline]
        if key == baseline:
            raise mistake(f"report.baselines.{key}: a cell cannot be its own base")
        for what, ours, theirs in (("model", cell.model, base.model), ("scheme", cell.scheme, base.scheme)):
            if ours != theirs:
                raise mistake(
                    f"report.baselines.{key}: a base must be another cell of the same {what};"
                    f" {key} has {ours}, {baseline} has {theirs}"
                )

    def made_with(self, key: str) -> dict[str, Any]:
        """Return everything that decides cell `key`'s artefact, as JSON would hold it, defaults left out."""
        cell = self.cells[key]
        source = self.models.get(cell.model) or self.trainings[cell.model]
        parts: dict[str, Any] = {"model": source.as_data(), "recipe": cell.as_data()}
        if cell.recipe.needs_calibration:
            calibration = self.calibrations[cell.calibration]
            parts |= {"calibration": calibration.as_data(), "corpus": self.corpora[calibration.corpus].as_data()}
        return parts

    def identity(self, key: str) -> str:
        """Return the SHA-256 of everything that decides cell `key`'s artefact."""
        return fingerprint(self.made_with(key))

    def scored_with(self) -> dict[str, Any]:
        """Return the sections that decide how cells are scored, as JSON would hold them, defaults left out."""
        return {"protocol": self.protocol.as_data(), "corpus": self.corpora[self.protocol.corpus].as_data()}

    def seed_groups(self) -> list[SeedGroup]:
        """Return groups of cells that differ only in their seeds: one group is one row of a table."""
        return seed_groups(self.cells, self.calibrations)

    @property
    def several_seeds(self) -> bool:
        """Whether some row has more than one cell."""
        return any(len(keys) > 1 for keys in self.seed_groups())

    def reference(self, key: str) -> str | None:
        """Return the full-precision cell of the same model as cell `key`, if the suite has one."""
        model = self.cells[key].model
        return next((k for k, c in self.cells.items() if c.model == model and not c.method.needs_scheme), None)


def _check(place: str, kind: str, name: str, allowed: Iterable[str]) -> None:
    if name not in allowed:
        raise mistake(f"{place}: {one_of(kind, name, allowed)}")


def load_params(path: Path = PARAMS) -> Params:
    """Read and validate a params file.

    Raises:
        UserError: one line that names the key, the value and what is allowed.
    """
    return read_section(Params, path)
