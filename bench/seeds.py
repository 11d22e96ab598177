"""Which cells are the same but for their seeds, and whether these are as many trainings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.strict import mistake
from swq.methods.omniquant import OmniQuant

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
        PydanticCustomError: a cell stands there twice, or again with a seed that decides nothing, or one training is
            the base of several.
    """
    for keys in rows_of(params):
        seeds = {key: _seeds(params, key) for key in keys}
        bases = {key: params.report.baselines.get(key) for key in keys}
        for place, key in enumerate(keys):
            _check_twin(params, key, keys[:place])
            if (bases[key] is None) != (bases[keys[0]] is None):
                message = f"report.baselines: {keys[0]} and {key} are seeds of one row; both need a base, or none"
                raise mistake(message)
        for key, base in bases.items():
            if len(keys) == 1 or base is None or not params.cells[base].method.needs_calibration:
                continue
            if _seeds(params, base) != seeds[key]:
                message = f"report.baselines.{key}: {base} has other seeds; each seed of a row needs a base of its own"
                raise mistake(message)


def _check_twin(params: Params, key: str, others: tuple[str, ...]) -> None:
    """Check that cell `key` is another training than the `others` of its row."""
    for other in others:
        if _seeds(params, other) == _seeds(params, key):
            raise mistake(f"cells.{key}: it is {other} again, with the same seed and its calibration's")
        if _drawn_by(params, other) == _drawn_by(params, key):
            message = f"cells.{key}: it is {other} again, with a seed that decides nothing: by a cell's own seed SW and"
            raise mistake(
                f"{message} TesseraQ draw; OmniQuant and AWQ by their calibration's alone, RTN and FP by none"
            )


def _apart_from_seed(params: Params, key: str) -> str:
    """Return what decides cell `key`'s row."""
    cell = params.cells[key]
    calibration = params.calibrations[cell.calibration].model_dump(exclude={"seed"})
    recipe = cell.describe().removesuffix(f" seed {cell.seed}")
    return json.dumps([cell.model, recipe, calibration])


def _drawn_by(params: Params, key: str) -> tuple[int | None, int | None]:
    """Return a cell's own seed and its calibration's, each if anything is drawn by it.

    By its own these are SW's directions and, in TesseraQ, the samples of a step. OmniQuant takes all in their order.
    """
    method, seeds = params.cells[key].method, _seeds(params, key)
    draws = params.cells[key].has_sw or (method.trains and not isinstance(method, OmniQuant))
    return seeds[0] if draws else None, seeds[1] if method.needs_calibration else None


def _seeds(params: Params, key: str) -> tuple[int, int]:
    cell = params.cells[key]
    return cell.seed, params.calibrations[cell.calibration].seed
