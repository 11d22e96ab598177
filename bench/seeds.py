"""Which cells are the same but for their seeds, and whether these are as many trainings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.strict import mistake

if TYPE_CHECKING:
    from bench.config import Params


def rows_of(params: Params) -> list[tuple[str, ...]]:
    """Return the cells that differ in their seed and their calibration's alone, together, in the order of the cells."""
    found: dict[str, list[str]] = {}
    for key in params.cells:
        found.setdefault(_apart_from_seed(params, key), []).append(key)
    return [tuple(keys) for keys in found.values()]


def check_seeds(params: Params) -> None:
    """Check that a row's cells are as many trainings, and so are their bases where these are trained.

    Raises:
        PydanticCustomError: a cell stands there twice, or one training is the base of several.
    """
    for keys in rows_of(params):
        seeds = {key: _seeds(params, key) for key in keys}
        bases = {key: params.report.baselines.get(key) for key in keys}
        for place, key in enumerate(keys):
            twin = next((other for other in keys[:place] if seeds[other] == seeds[key]), None)
            if twin is not None:
                message = f"cells.{key}: it is {twin} again, with the same seed and its calibration's"
                raise mistake(message)
            if (bases[key] is None) != (bases[keys[0]] is None):
                message = f"report.baselines: {keys[0]} and {key} are seeds of one row; both need a base, or none"
                raise mistake(message)
        for key, base in bases.items():
            if len(keys) == 1 or base is None or not params.cells[base].method.needs_calibration:
                continue
            if _seeds(params, base) != seeds[key]:
                message = f"report.baselines.{key}: {base} has other seeds; each seed of a row needs a base of its own"
                raise mistake(message)


def _apart_from_seed(params: Params, key: str) -> str:
    """Return what decides cell `key`'s row."""
    cell = params.cells[key]
    calibration = params.calibrations[cell.calibration].model_dump(exclude={"seed"})
    recipe = cell.describe().removesuffix(f" seed {cell.seed}")
    return json.dumps([cell.model, recipe, calibration])


def _seeds(params: Params, key: str) -> tuple[int, int]:
    cell = params.cells[key]
    return cell.seed, params.calibrations[cell.calibration].seed
