"""Where each stage puts what it makes. dvc.yaml names the same places."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

RESUME = Path(".resume")  # what killed stages continue from
LOCKS = Path(".locks")  # of processes that must not run at once
FAILURES = Path(".failures")  # one file per failed stage, read at the end of a run that keeps going
LOGS = Path(".logs")  # what other libraries print, one file per stage
PROGRESS = Path(".logs/progress")  # how far each stage is, one file per stage
REPLACED = Path(".replaced")  # raw files whose cells were measured again, one folder per suite

RECORD = "record.json"  # beside a stage's outputs: where they came from and what they cost
MODEL = "model.json"  # in a model's folder
MANIFEST = "manifest.json"  # in a corpus's folder
QUANTIZED = "quantized.safetensors"  # in a cell's artefacts
LEARNED = "learned.safetensors"
LOSSES = "losses.csv"
DIFFERENCE = "difference.json"  # from the base
SUMMARY = "summary.json"  # in a cell's scores
ITEMS = "items.jsonl"
TABLE = "table.md"  # in a suite's results
PAGE = "report.html"
CELLS = "cells.json"
PROVENANCE = "provenance.json"

VALIDATED = Path("data/validated.txt")  # params.yaml is


def model_folder(key: str) -> Path:
    return Path("data/models") / key


def corpus_folder(key: str) -> Path:
    return Path("data/corpora") / key


def text_file(corpus: Path, name: str) -> Path:
    """Return where a corpus holds a text, as a dataset with one column, `text`."""
    return corpus / "texts" / f"{name}.arrow"


def task_file(corpus: Path, name: str) -> Path:
    """Return where a corpus holds a task's documents, as a dataset."""
    return corpus / "tasks" / f"{name}.arrow"


def used_of(corpus: Path, texts: Iterable[str], tasks: Iterable[str] = ()) -> list[str]:
    """Return the names, inside a corpus's folder, of its manifest and of those of these texts and tasks that it has."""
    files = [corpus / MANIFEST, *(text_file(corpus, name) for name in texts), *(task_file(corpus, n) for n in tasks)]
    return [str(file.relative_to(corpus)) for file in files if file.is_file()]


def calibration_file(key: str) -> Path:
    return Path("data/calibrations") / key / "tokens.safetensors"


def artefact_folder(cell: str) -> Path:
    return Path("artefacts") / cell


def score_folder(cell: str) -> Path:
    return Path("scores") / cell


def token_losses_file(scores: Path, text: str) -> Path:
    return scores / "token_losses" / f"{text}.npy"


def token_divergences_file(scores: Path, text: str) -> Path:
    return scores / "token_divergences" / f"{text}.npy"


def result_folder(suite: str) -> Path:
    return Path("results") / suite


def raw_folder(suite: str) -> Path:
    """Return where a suite's raw files lie, one a cell: what its results are made from."""
    return result_folder(suite) / "raw"
