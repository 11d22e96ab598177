"""import: take others' raw files into the suite's results, such as another machine's seeds."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.analysis.current import another_plan, difference
from bench.analysis.results import CellResult, load_results, result_of, scored_on
from bench.config.params import Params
from bench.config.strict import shown
from bench.store.paths import raw_folder
from bench.store.raw import SUFFIX, RawCell, raw_file, read_raw, text_in
from swq.errors import UserError
from swq.files import atomic_path


def import_raw(params: Params, paths: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Copy raw files of the suite's cells to results/SUITE/raw. A file that is refused stops no other.

    Args:
        params: of the suite.
        paths: raw files, and folders in which all raw files are meant.

    Returns:
        lines about the files that are there now, and lines about those that were refused.

    Raises:
        UserError: a path is not there or holds no raw file, or the suite's own raw files are damaged.
    """
    files = [file for path in paths for file in _files(path)]
    known = load_results(params)
    said, refused = [], []
    for file in files:
        try:
            said.append(_import(params, file, known))
        except UserError as error:
            refused.append(str(error))
    return said, refused


def _files(path: Path) -> list[Path]:
    found = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not found or not all(file.is_file() for file in found):
        raise UserError(f"{path}: there is no raw file of a cell here, whose name ends with {SUFFIX}")
    return found


def _import(params: Params, file: Path, known: dict[str, CellResult]) -> str:
    """Take one file in, and return a line about it. `known` are the suite's cells, which it may then be one of.

    Raises:
        UserError: it is refused; says why.
    """
    raw = read_raw(file)
    if raw.cell not in params.cells:
        raise UserError(f"{file}: suite {params.suite} has no such cell: {shown(raw.cell)}")
    plan = another_plan(params, raw.records.model_dump(exclude_unset=True))
    unlike = difference(params, raw.cell, raw) or plan or _unlike(params, raw, known)
    if unlike:
        raise UserError(f"{file}: cell {raw.cell} has {unlike}")
    there = raw_file(params.suite, raw.cell)
    if there.exists():
        if text_in(there) == text_in(file):
            return f"{raw.cell}: is there already"
        raise UserError(f"{file}: cell {raw.cell} already has another raw file, {there}; move that away first")
    raw_folder(params.suite).mkdir(parents=True, exist_ok=True)
    with atomic_path(there) as temporary:
        shutil.copyfile(file, temporary)
    known[raw.cell] = result_of(raw)
    return f"{raw.cell}: imported"


def _unlike(params: Params, raw: RawCell, known: Mapping[str, CellResult]) -> str | None:
    """Name what differs from the suite's other cells though the configuration is the same."""
    model, given = params.cells[raw.cell].model, scored_on(result_of(raw))
    for key, other in known.items():
        if key == raw.cell:
            continue
        if raw.summary.protocol_sha256 != other.summary["protocol_sha256"]:
            return f"another protocol: its texts, tasks or their versions are not those of {key}"
        if given != scored_on(other):
            return f"other documents or windows than {key}, under the same protocol"
        if params.cells[key].model == model and raw.summary.model_sha256 != other.summary["model_sha256"]:
            return f"another model: its weights of {model} are not those of {key}"
    return None
