"""Which cells are the same but for their seeds, and whether these are as many trainings."""

from __future__ import annotations

from collections.abc import Mapping

from bench.config.cell import Cell
from bench.config.sections import Calibration
from bench.config.strict import mistake
from swq.identity import fingerprint

Cells = Mapping[str, Cell]
Calibrations = Mapping[str, Calibration]
SeedGroup = tuple[str, ...]  # keys of cells that differ in their seeds alone


def seed_groups(cells: Cells, calibrations: Calibrations) -> list[SeedGroup]:
    """Return the cells that differ in their seed and their calibration's alone, together, in the order of the cells."""
    found: dict[str, list[str]] = {}
    for key, cell in cells.items():
        found.setdefault(_identity_but_for_seeds(cell, calibrations[cell.calibration]), []).append(key)
    return [tuple(keys) for keys in found.values()]


def _identity_but_for_seeds(cell: Cell, calibration: Calibration) -> str:
    recipe, sample = cell.as_data(), calibration.as_data()
    for section in (recipe, sample):
        section.pop("seed", None)
    return fingerprint([cell.model, recipe, sample])


def check_seeds(cells: Cells, calibrations: Calibrations, baselines: Mapping[str, str]) -> None:
    """Check that a group's cells are as many trainings, and so are their bases where these are trained.

    Raises:
        PydanticCustomError: a cell stands there twice, or again with a seed that decides nothing, or one training is
            the base of several.
    """
    seeds = {key: (cell.seed, calibrations[cell.calibration].seed) for key, cell in cells.items()}
    for keys in seed_groups(cells, calibrations):
        for place, key in enumerate(keys):
            for other in keys[:place]:
                _check_twin(key, other, cells, seeds)
            if (key in baselines) != (keys[0] in baselines):
                message = f"report.baselines: {keys[0]} and {key} are seeds of one row; both need a base, or none"
                raise mistake(message)
        for key in keys if len(keys) > 1 else ():
            base = baselines.get(key)
            if base is not None and cells[base].method.needs_calibration and seeds[base] != seeds[key]:
                message = f"report.baselines.{key}: {base} has other seeds; each seed of a row needs a base of its own"
                raise mistake(message)


def _check_twin(key: str, other: str, cells: Cells, seeds: Mapping[str, tuple[int, int]]) -> None:
    """Check that cell `key` is another training than `other`, a cell of its group."""
    if seeds[other] == seeds[key]:
        raise mistake(f"cells.{key}: it is {other} again, with the same seed and its calibration's")
    if _drawn_by(cells[other], seeds[other]) == _drawn_by(cells[key], seeds[key]):
        raise mistake(
            f"cells.{key}: it is {other} again, with a seed that decides nothing: by a cell's own seed SW and TesseraQ"
            " draw; OmniQuant and AWQ by their calibration's alone, RTN and FP by none"
        )


def _drawn_by(cell: Cell, seeds: tuple[int, int]) -> tuple[int | None, int | None]:
    """Return a cell's own seed and its calibration's, each only if something is drawn by it."""
    own, sample = seeds
    return own if cell.has_sw or cell.method.draws else None, sample if cell.method.needs_calibration else None
