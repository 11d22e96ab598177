"""Cells by the dozen: every model at every scheme with every method, from a few lines of conf/."""

from __future__ import annotations

from typing import Any

from swq.errors import UserError

KEYS = ("models", "schemes", "rows")


def expand(suite: str, grid: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the cells of a grid, model by model, and whose lost accuracy each is meant to recover.

    A grid is a list of parts. Each crosses its `models` with its `schemes` (none: cells without one) and its `rows`; a
    row is a cell without model and scheme, in whose strings `{model}` and `{scheme}` are filled in, and whose `base`
    names another row of the part. A cell's key is SUITE-MODEL-SCHEME-ROW.

    Raises:
        UserError: the grid has another shape, or makes a cell twice.
    """
    cells: dict[str, Any] = {}
    baselines: dict[str, str] = {}
    for place, part in enumerate(grid if isinstance(grid, list) else [grid]):
        _check(place, part)
        for model in part["models"]:
            for scheme in part.get("schemes", [None]):
                keys = {row: "-".join(filter(None, (suite, model, scheme, row))) for row in part["rows"]}
                for row, settings in part["rows"].items():
                    if keys[row] in cells:
                        raise UserError(f"grid.{place}: cell {keys[row]} is there already")
                    cells[keys[row]], base = _cell(settings, model, scheme)
                    if base is not None and base not in keys:
                        raise UserError(f"grid.{place}.rows.{row}: base {base!r} is no row of the part")
                    if base is not None:
                        baselines[keys[row]] = keys[base]
    order = list(dict.fromkeys(cell["model"] for cell in cells.values()))
    return dict(sorted(cells.items(), key=lambda item: order.index(item[1]["model"]))), baselines


def _cell(settings: dict[str, Any], model: str, scheme: str | None) -> tuple[dict[str, Any], str | None]:
    filled = {key: _filled(value, model, scheme) for key, value in settings.items() if key != "base"}
    return {"model": model} | filled | ({"scheme": scheme} if scheme else {}), settings.get("base")


def _filled(value: Any, model: str, scheme: str | None) -> Any:
    if isinstance(value, dict):
        return {key: _filled(part, model, scheme) for key, part in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return value.format(model=model, scheme=scheme)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"grid: {value!r} holds another placeholder than {{model}} and {{scheme}}") from error


def _check(place: int, part: Any) -> None:
    if not isinstance(part, dict) or not {"models", "rows"} <= part.keys() <= set(KEYS):
        raise UserError(f"grid.{place}: must be a mapping with models, rows and, for quantized cells, schemes")
    for key in ("models", "schemes"):
        if not isinstance(part.get(key, []), list):
            raise UserError(f"grid.{place}.{key}: must be a list, such as [{part[key]}]")
    if not isinstance(part["rows"], dict) or not all(isinstance(row, dict) for row in part["rows"].values()):
        raise UserError(f"grid.{place}.rows: must map each row's name to a cell without model and scheme")
