"""A part of a suite: the cells of one model, or one scheme, run by DVC."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.config import Params
from bench.parallel import run_cells
from bench.paths import FAILURES
from swq.errors import UserError, one_of


def select(params: Params, model: str | None = None, scheme: str | None = None) -> list[str]:
    """Return the keys of the cells of a model and a scheme (None: all), full precision always among them.

    Raises:
        UserError: the suite has no such model or scheme, or no cell of both.
    """
    models = {cell.model for cell in params.cells.values()}
    schemes = {str(cell.scheme) for cell in params.cells.values() if cell.scheme}
    if model is not None and model not in models:
        raise UserError(one_of("model", model, models))
    if scheme is not None and scheme not in schemes:
        raise UserError(one_of("scheme", scheme, schemes))
    cells = {key: cell for key, cell in params.cells.items() if model in (None, cell.model)}
    chosen = [key for key, cell in cells.items() if cell.scheme is None or scheme in (None, str(cell.scheme))]
    if scheme is not None and not any(cells[key].scheme for key in chosen):
        there = {str(cell.scheme) for cell in cells.values() if cell.scheme}
        raise UserError(f"model {model}: {one_of('scheme', scheme, there)}")
    return chosen


def run(params: Params, keys: list[str], jobs: int = 1) -> None:
    """Run cells that are not up to date, `jobs` at a time, and render the suite's report.

    Other cells may stand there as not run.

    Raises:
        UserError: a stage failed; names each, and why.
    """
    for note in FAILURES.glob("*"):
        note.unlink()
    dvc = Path(sys.executable).with_name("dvc")
    if jobs > 1:
        failed = not run_cells(dvc, params, keys, jobs)
    else:
        scores = [f"score@{key}" for key in keys]
        failed = subprocess.run([dvc, "repro", "--keep-going", *scores], check=False).returncode != 0
    for folder in ("artefacts", "scores"):  # the report depends on them, whether a cell was run or not
        Path(folder).mkdir(exist_ok=True)
    # Alone: the report depends on the folders of all cells, so that DVC would run them all first.
    rendered = subprocess.run([dvc, "repro", "--single-item", f"report@{params.suite}"], check=False).returncode == 0
    if failed or not rendered:
        notes = [f"{path.name}: {path.read_text(encoding='utf-8')}" for path in sorted(FAILURES.glob("*"))]
        raise UserError("; ".join(notes) or "dvc could not run the cells; it said why above")
