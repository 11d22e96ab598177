"""From what stages leave on this machine to raw files: the only place where scores and artefacts become results."""

from __future__ import annotations

import csv
import math
import shutil
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bench.analysis.current import is_current
from bench.config.params import Params
from bench.store.checksums import SUMS, check
from bench.store.files import read_json, read_mapping
from bench.store.items import read_items
from bench.store.paths import (
    DIFFERENCE,
    ITEMS,
    LOSSES,
    QUANTIZED,
    RECORD,
    REPLACED,
    SUMMARY,
    artefact_folder,
    score_folder,
    token_divergences_file,
    token_losses_file,
)
from bench.store.raw import SUFFIX, raw_file, text_in, text_of, write_raw
from swq.errors import UserError

COUNTS = ("block", "epoch")  # columns of losses.csv; the others are measured


def collect(params: Params) -> list[str]:
    """Turn the current scores of each of the suite's cells into its raw file.

    A cell without current scores here keeps its raw file, whatever that holds. A file that another one takes the place
    of, because the cell was measured again, is moved to .replaced/SUITE.

    Returns:
        the cells whose files were moved there.

    Raises:
        UserError: what a stage left is damaged.
    """
    return [key for key in params.cells if _collect(params, key)]


def _collect(params: Params, key: str) -> bool:
    """Write a cell's raw file if there are current scores, and say whether another one was moved away for it."""
    data = _measured(params, key)
    if data is None:
        return False
    path, text = raw_file(params.suite, key), text_of(data, str(score_folder(key)))
    if path.is_file() and _holds(path, text):
        return False  # the same content, which another version of the compressor may have given other bytes
    moved = path.is_file()
    if moved:
        _move_away(path, REPLACED / params.suite)
    write_raw(path, text)
    return moved


def _holds(path: Path, text: bytes) -> bool:
    try:
        return text_in(path) == text
    except UserError:
        return False


def _move_away(path: Path, folder: Path) -> None:
    """Move a raw file, under a name that no other content has."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{path.name.removesuffix(SUFFIX)}.{sha256(path.read_bytes()).hexdigest()[:12]}{SUFFIX}"
    shutil.move(path, folder / name)


def _was_made(folder: Path) -> bool:
    """Say whether a stage ended here, also if one of the two files is lost: the cell must not look as if never run."""
    return (folder / RECORD).exists() or (folder / SUMS).exists()


def _measured(params: Params, key: str) -> dict[str, Any] | None:
    """Return what a raw file holds of a cell, from what is there of it; None if that is nothing, or not current."""
    scores, artefacts = score_folder(key), artefact_folder(key)
    if not _was_made(scores) or not _was_made(artefacts):
        return None
    for folder in (artefacts, scores):  # first: a damaged record would make the cell look like one that was edited
        check(folder, [RECORD])
    made, scored = read_json(artefacts / RECORD), read_json(scores / RECORD)
    if not is_current(params, key, made, scored):
        return None  # the cell or the protocol was edited since
    check(artefacts, [LOSSES])
    check(scores, [SUMMARY, ITEMS])
    summary = read_json(scores / SUMMARY)
    token_losses = {name: token_losses_file(scores, name) for name in summary["perplexity"]}
    check(scores, [str(path.relative_to(scores)) for path in token_losses.values()])
    return {
        "cell": key,
        "records": {"reconstruct": made, "score": scored},
        "summary": summary,
        "window_losses": {name: _window_means(path) for name, path in token_losses.items()},
        **_divergences(scores, summary),
        **_difference(artefacts),
        "block_losses": _block_losses(artefacts / LOSSES),
        "items": [asdict(item) for item in read_items(scores / ITEMS)],
    }


def _divergences(scores: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Return each window's mean divergence from full precision, if the protocol asks for it."""
    files = {name: token_divergences_file(scores, name) for name in summary.get("divergence", {})}
    check(scores, [str(path.relative_to(scores)) for path in files.values()])
    return {"window_divergences": {name: _window_means(path) for name, path in files.items()}} if files else {}


def _difference(artefacts: Path) -> dict[str, Any]:
    """Return the codes that differ from the base's, if they were counted for the artefacts that are here."""
    if not (artefacts / DIFFERENCE).exists():
        return {}
    found = read_mapping(artefacts / DIFFERENCE)
    try:
        hashes = found.pop("artefacts")
        if any(check(artefact_folder(cell), [])[QUANTIZED] != sha for cell, sha in hashes.items()):
            return {}  # one of them was made again since
    except (KeyError, AttributeError, UserError):
        return {}
    return {"difference": found}


def _window_means(path: Path) -> list[float | None]:
    """Return each window's mean over its tokens, from (n_windows, seq_len - 1) float32 values."""
    return [_finite(mean) for mean in np.load(path).mean(axis=1, dtype=np.float64).tolist()]


def _block_losses(path: Path) -> list[dict[str, float | None]]:
    """Return the rows; a field is empty where a share of the gradient was not measured."""
    with path.open(newline="") as handle:
        return [
            {name: int(text) if name in COUNTS else _finite(float(text)) for name, text in row.items() if text}
            for row in csv.DictReader(handle)
        ]


def _finite(value: float) -> float | None:
    """Return a number, or None where JSON could not express it."""
    return value if math.isfinite(value) else None
