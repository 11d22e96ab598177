"""Which cells differ only in their seeds, and whether each of them is a training of its own."""

from __future__ import annotations

from collections.abc import Mapping

from bench.config.cell import Cell
from bench.config.sections import Calibration
from bench.config.strict import mistake
from swq.identity import fingerprint

Cells = Mapping[str, Cell]
Calibrations = Mapping[str, Calibration]
SeedGroup = tuple[str, ...]  # keys of cells that differ only in their seeds


def seed_groups(cells: Cells, calibrations: Calibrations) -> list[SeedGroup]:
    """Return groups of cells that differ only in their own seed and their calibration's, in the order of the cells."""
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
    """Check that each cell of a group is a training of its own, and so is each of their bases if these are trained.

    Raises:
        PydanticCustomError: a cell is there twice, or again with a seed that has no effect, or one training is the base
            of several.
    """
    seeds = {key: (cell.seed, calibrations[cell.calibration].seed) for key, cell in cells.items()}
    for keys in seed_groups(cells, calibrations):
        for place, key in enumerate(keys):
            for other in keys[:place]:
                _check_twin(key, other, cells, seeds)
            if (key in baselines) != (keys[0] in baselines):
                message = f"report.baselines: {keys[0]} and {key} are seeds of one row; both need a base, or neither"
                raise mistake(message)
        for key in keys if len(keys) > 1 else ():
            base = baselines.get(key)
            if base is not None and cells[base].recipe.needs_calibration and seeds[base] != seeds[key]:
                message = f"report.baselines.{key}: {base} has other seeds; each seed of a row needs its own base"
                raise mistake(message)


def _check_twin(key: str, other: str, cells: Cells, seeds: Mapping[str, tuple[int, int]]) -> None:
    """Check that cell `key` is not the same training as `other`, a cell of its group."""
    if seeds[other] == seeds[key]:
        raise mistake(f"cells.{key}: it repeats {other}, with the same seed and the same calibration seed")
    if _drawn_by(cells[other], seeds[other]) == _drawn_by(cells[key], seeds[key]):
        raise mistake(
            f"cells.{key}: it repeats {other}, with another seed that has no effect. SW, TesseraQ and ApiQ use a cell's"
            " own seed; OmniQuant and AWQ use only their calibration's, RTN and FP use none"
        )


def _drawn_by(cell: Cell, seeds: tuple[int, int]) -> tuple[int | None, int | None]:
    """Return a cell's own seed and its calibration's, each only if it has an effect."""
    own, sample = seeds
    return (
        own if cell.has_sw or cell.has_placebo or cell.method.draws else None,
        sample if cell.recipe.needs_calibration else None,
    )
