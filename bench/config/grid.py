"""Many cells from a few lines of conf/: every model at every scheme with every method."""

from __future__ import annotations

from itertools import product
from typing import Any

from bench.config.strict import shown
from swq.errors import UserError

KEYS = ("models", "schemes", "seeds", "rows")


def expand(suite: str, grid: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the cells of a grid, model by model, and the base of each: the cell whose lost accuracy it should recover.

    A grid is a list of parts. Each part crosses its `models`, `schemes`, `rows` and `seeds`. Without `schemes`, its
    cells have no scheme. Without `seeds`, they keep the seed that they name themselves. A row is a cell without model,
    scheme and seed; `{model}`, `{scheme}` and `{seed}` are filled into its strings. Its `base` names another row of the
    same part, or a row without seeds of an earlier part. A cell's key is SUITE-MODEL-SCHEME-ROW-sSEED.

    Raises:
        UserError: the grid has another shape, or makes a cell twice.
    """
    cells: dict[str, Any] = {}
    baselines: dict[str, str] = {}
    for place, part in enumerate(grid if isinstance(grid, list) else [grid]):
        _check(place, part)
        axes = (part["models"], part.get("schemes", [None]), part["rows"].items(), part.get("seeds", [None]))
        for model, scheme, (row, settings), seed in product(*axes):
            where = f"grid.{place}.rows.{row}"
            key = _key(suite, model, scheme, row, seed)
            if key in cells:
                raise UserError(f"grid.{place}: cell {key} is already defined")
            base = settings.get("base")
            cells[key] = _cell(where, {k: v for k, v in settings.items() if k != "base"}, model, scheme, seed)
            if base in part["rows"]:
                baselines[key] = _key(suite, model, scheme, base, seed)
            elif base is not None:
                baselines[key] = _key(suite, model, scheme, base, None)
                if baselines[key] not in cells:
                    raise UserError(f"{where}: base {base!r} is not a row of this part or an earlier one")
    order = list(dict.fromkeys(cell["model"] for cell in cells.values()))
    return dict(sorted(cells.items(), key=lambda item: order.index(item[1]["model"]))), baselines


def _key(suite: str, model: str, scheme: str | None, row: str, seed: int | None) -> str:
    return "-".join(filter(None, (suite, model, scheme, row, None if seed is None else f"s{seed}")))


def _cell(where: str, settings: dict[str, Any], model: str, scheme: str | None, seed: int | None) -> dict[str, Any]:
    names = {name: value for name, value in (("model", model), ("scheme", scheme), ("seed", seed)) if value is not None}
    filled = {key: _filled(where, value, names) for key, value in settings.items()}
    return {"model": model} | filled | {name: names[name] for name in ("scheme", "seed") if name in names}


def _filled(where: str, value: Any, names: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(where, part, names) for key, part in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return value.format(**names)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        known = ", ".join(f"{{{name}}}" for name in names)
        raise UserError(
            f"{where}: {value!r} holds a placeholder that this part does not fill (allowed: {known})"
        ) from error


def _check(place: int, part: Any) -> None:
    if not isinstance(part, dict) or not {"models", "rows"} <= part.keys() <= set(KEYS):
        given = f" (given: {', '.join(map(str, part))})" if isinstance(part, dict) else ""
        raise UserError(f"grid.{place}: must be a mapping with models, rows and, optionally, schemes and seeds{given}")
    for key, kind, example in (("models", str, "my-model"), ("schemes", str, "w3a16g64"), ("seeds", int, "1, 2, 3")):
        values = part.get(key)
        if key in part and not (isinstance(values, list) and values and all(type(value) is kind for value in values)):
            raise UserError(f"grid.{place}.{key}: must be a list such as [{example}] (given: {shown(values)})")
    if not isinstance(part["rows"], dict) or not all(isinstance(row, dict) for row in part["rows"].values()):
        raise UserError(f"grid.{place}.rows: must map each row's name to a cell without model, scheme and seed")
    for row, settings in part["rows"].items():
        if not isinstance(row, str) or not isinstance(settings.get("base"), str | None):
            raise UserError(f"grid.{place}.rows.{row}: a row's name and its base must be text")
        for key in {"model", "scheme", "seed"} & settings.keys():
            if key != "seed" or "seeds" in part:
                raise UserError(f"grid.{place}.rows.{row}: {key} is set by the part's {key}s; leave it out here")
