"""What cells and rows are called on a page."""

from __future__ import annotations

import re
from collections import Counter

from bench.config.cell import Cell
from bench.config.params import Params
from bench.config.plan import own_part
from bench.config.seeds import SeedGroup


def label(cell: Cell) -> str:
    """Return a cell's name for people; cells that differ only in numbers share it."""
    return cell.recipe.label + (" + SW" if cell.has_sw else "") + (" + placebo" if cell.has_placebo else "")


def labels(params: Params) -> dict[str, str]:
    """Return every cell's name for people, e.g. `OmniQuant (LET) + SW`; rows that share it add a part of their keys."""
    groups = params.seed_groups()
    names = {keys: (label(cell := params.cells[keys[0]]), cell.scheme, cell.model) for keys in groups}
    twins = [name for name, count in Counter(names.values()).items() if count > 1]  # differ in epochs or weights
    called = {
        keys: f"{names[keys][0]} ({_own_part(params, keys)})" if names[keys] in twins else names[keys][0]
        for keys in groups
    }
    return {key: called[keys] for keys in groups for key in keys}


def row_name(params: Params, keys: SeedGroup) -> str:
    """Return a row's first key. The seed that a grid appends is left out, unless another row has that name."""
    if len(keys) == 1:
        return keys[0]

    def short(group: SeedGroup) -> str:
        return re.sub(r"-s\d+$", "", group[0])

    alone = [short(group) for group in params.seed_groups()].count(short(keys)) == 1
    return short(keys) if alone and short(keys) not in params.cells else keys[0]


def _own_part(params: Params, keys: SeedGroup) -> str:
    """Return a row's key without what the table already shows: suite, model, scheme and seed."""
    return own_part(params.suite, params.cells[keys[0]], row_name(params, keys))
