"""Raw files: everything that was measured of one cell, in one compressed JSON file that is committed with the results.

results/SUITE/raw/CELL.json.xz decides that a cell is done. Tables, plots and verdicts are made from these files alone,
so whoever has them can make everything else again, without the model. The same content has the same bytes: nothing in
a file says when it was written.
"""

from __future__ import annotations

import json
import lzma
import math
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.store.items import Item
from bench.store.paths import raw_folder
from swq.errors import UserError
from swq.files import atomic_path
from swq.identity import fingerprint

SUFFIX = ".json.xz"
SCHEMA: Literal[1] = 1  # goes up when an older reader would take a file for something else
LARGEST = 2**28  # bytes of JSON; the tasks' whole sets make about three million
NEAR = 1e-6  # as a share: what rounding can explain
MOST = 709.0  # nats a token; exp of more overflows

Numbers = dict[str, float | None]  # None: not finite
Windows = Annotated[list[float | None], Field(min_length=1)]


class _Part(BaseModel):
    """Refuses NaN and values of another type, also in dataclasses; what this version does not know is kept."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)


class Record(_Part):
    """What a stage's record must say for a report."""

    wall_seconds: float
    peak_memory_bytes: dict[str, int]
    resumed_seconds: float | None = None


class MadeRecord(Record):
    identity: str
    made_with: dict[str, Any]
    bits_per_weight: float | None
    retried_blocks: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _belong_together(self) -> MadeRecord:
        if fingerprint(self.made_with) != self.identity:
            raise ValueError("identity is not that of made_with")
        return self


class ScoreRecord(Record):
    scored_with: dict[str, Any]


class Records(_Part):
    """The records of a cell's two stages: configuration, provenance and cost."""

    reconstruct: MadeRecord
    score: ScoreRecord


class TaskMeans(_Part):
    acc: float | None
    margin: float | None
    n_items: int


class Difference(_Part):
    """The codes in which an artefact differs from its base's."""

    base: str
    n_weights: int = Field(gt=0)
    different_codes: int = Field(ge=0)

    @property
    def share(self) -> float:
        return self.different_codes / self.n_weights


class Summary(_Part):
    """Means over items and windows; None where the cell diverged."""

    protocol_sha256: str
    model_sha256: str
    perplexity: Numbers
    divergence: Numbers = Field(default_factory=dict)
    diverged: bool
    tasks: dict[str, TaskMeans]


class RawCell(_Part):
    """Everything that was measured of one cell.

    Attributes:
        schema_version: of this format.
        cell: its key.
        records: of its reconstruction and its scoring. `made_with` and `scored_with` are its whole configuration.
        summary: means, and SHA-256 of the model and of the protocol's data.
        window_losses: of each text, each window's mean loss in nats per token, in float64.
        window_divergences: the same of the KL divergence from full precision, on the windows on which it was measured.
        difference: the codes that are not its base's; None if it has no base, or they were not counted.
        block_losses: a mapping of means for every epoch of every block, as losses.csv has them; a share of the gradient
            is missing where it was not measured.
        items: the scored documents.
    """

    # An unknown field here is another format; new fields of items come with bench/store/items.py.
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = SCHEMA
    cell: str
    records: Records
    summary: Summary
    window_losses: dict[str, Windows]
    window_divergences: dict[str, Windows] = Field(default_factory=dict)
    difference: Difference | None = None
    block_losses: list[Numbers]
    items: list[Item]

    @model_validator(mode="after")
    def _means_are_those_of_the_parts(self) -> RawCell:
        """Tables show both, so a file that disagrees with itself would show two truths."""
        summary = self.summary
        _same("texts", summary.perplexity, self.window_losses)
        _same("tasks", summary.tasks, {item.task: None for item in self.items})
        for place, item in enumerate(self.items):
            if not 0 <= item.gold < len(item.log_likelihoods):
                raise ValueError(f"items.{place}.gold is not one of its choices")
        finite = None not in summary.perplexity.values() and not any(item.diverged for item in self.items)
        if summary.diverged == finite:
            wrong = "true, but every value is" if finite else "false, but not every value is"
            raise ValueError(f"summary.diverged is {wrong} finite")
        for text, perplexity in summary.perplexity.items():
            losses = fmean(math.inf if loss is None else loss for loss in self.window_losses[text])
            if perplexity is not None:
                _near(f"perplexity.{text}", perplexity, math.exp(min(losses, MOST)), f"window_losses.{text}")
            elif losses < MOST:
                raise ValueError(f"summary.perplexity.{text} is missing, but window_losses.{text} are finite")
        _same("divergences", summary.divergence, self.window_divergences)
        for task, means in summary.tasks.items():
            own = [item for item in self.items if item.task == task]
            _near(f"tasks.{task}.n_items", means.n_items, len(own), "items")
            if (means.acc is None or means.margin is None) != any(item.diverged for item in own):
                raise ValueError(f"summary.tasks.{task} has no means where its items have, or the other way round")
            if means.acc is not None and means.margin is not None:
                _near(f"tasks.{task}.acc", means.acc, fmean(item.correct for item in own), "items")
                _near(f"tasks.{task}.margin", means.margin, fmean(item.margin for item in own), "items")
        return self


def raw_file(suite: str, cell: str) -> Path:
    return raw_folder(suite) / f"{cell}{SUFFIX}"


def text_of(data: dict[str, Any], called: str) -> bytes:
    """Return the JSON of a raw file. Keys keep their order, because that of tasks is the tables'.

    Args:
        data: the fields of a RawCell as JSON would hold them, but for the version.
        called: its name in messages.

    Raises:
        UserError: as `read_raw`.
    """
    text = json.dumps({"schema_version": SCHEMA} | data, separators=(",", ":"), allow_nan=False).encode()
    parse(text, called)
    return text


def write_raw(path: Path, text: bytes) -> None:
    """Write JSON as a raw file, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(lzma.compress(text, preset=9))


def text_in(path: Path) -> bytes:
    """Return the JSON of a raw file, not validated.

    Raises:
        UserError: the file cannot be read, is damaged, or holds far more than a cell can.
    """
    try:
        with lzma.open(path) as handle:
            text = handle.read(LARGEST + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{path} is no raw file of a cell, or damaged: {error}") from error
    if len(text) > LARGEST:
        raise UserError(f"{path} is no raw file of a cell: it holds more than {LARGEST} bytes")
    return text


def read_raw(path: Path) -> RawCell:
    """Read and validate a raw file.

    Raises:
        UserError: one line that names the file and the field.
    """
    return parse(text_in(path), str(path))


def parse(text: bytes, called: str) -> RawCell:
    """Validate the JSON of a raw file, which messages call `called`.

    Raises:
        UserError: one line that names the field.
    """
    try:
        return RawCell.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        parts = [".".join(map(str, first["loc"])), message] if first["loc"] else [message]
        more = f" [and {error.error_count() - 1} more]" if error.error_count() > 1 else ""
        raise UserError(
            f"{called} is no raw file of a cell, or damaged: {' '.join(': '.join(parts).split())}{more}"
        ) from error


def _same(what: str, summary: dict[str, Any], parts: dict[str, Any]) -> None:
    if set(summary) != set(parts):
        raise ValueError(f"summary has the {what} {sorted(summary)}, and the values are of {sorted(parts)}")


def _near(place: str, said: float, found: float, source: str) -> None:
    if not math.isclose(said, found, rel_tol=NEAR, abs_tol=NEAR):
        raise ValueError(f"summary.{place} is not that of {source}")
