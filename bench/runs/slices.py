"""A part of a suite: the cells of one model, scheme, method or seed, or single cells."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from bench.config.cell import Cell
from bench.config.params import Params
from swq.errors import UserError, one_of


@dataclass(frozen=True)
class Slice:
    """What a part has in common; None stands for all.

    Attributes:
        model: its key in params.yaml.
        scheme: as `str(Scheme)` spells it.
        method: its name.
        seed: of the cells.
        cells: single cells, by key.
    """

    model: str | None = None
    scheme: str | None = None
    method: str | None = None
    seed: int | None = None
    cells: Collection[str] = ()

    def holds(self, cell: Cell) -> bool:
        own = (cell.model, cell.scheme and str(cell.scheme), cell.method_name, cell.seed)
        wanted = (self.model, self.scheme, self.method, self.seed)
        return all(want in (None, have) for want, have in zip(wanted, own, strict=True))


def select(params: Params, part: Slice = Slice()) -> list[str]:
    """Return the keys of a part's cells. Full precision of their models is always among them, unless cells are named.

    Raises:
        UserError: the suite has no such cell, or none that is all of it.
    """
    _check_names(params, part)
    named = {key: cell for key, cell in params.cells.items() if not part.cells or key in part.cells}
    chosen = {key: cell for key, cell in named.items() if part.holds(cell)}
    if not chosen:
        raise UserError("no cell of this suite has all that was asked for; each of it alone is there")
    models = {cell.model for cell in chosen.values()}
    reference = set() if part.cells else {k for k, c in named.items() if c.scheme is None and c.model in models}
    return [key for key in named if key in chosen or key in reference]


def _check_names(params: Params, part: Slice) -> None:
    cells = params.cells.values()
    _check("model", part.model, (cell.model for cell in cells))
    _check("scheme", part.scheme, (str(cell.scheme) for cell in cells if cell.scheme))
    _check("method", part.method, (cell.method_name for cell in cells))
    _check("seed", part.seed, (cell.seed for cell in cells))
    for key in part.cells:
        if key not in params.cells:  # a suite has too many of them to list
            near = get_close_matches(key, params.cells, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"unknown cell {key!r}{meant} (params.yaml has all {len(params.cells)})")


def _check(what: str, wanted: str | int | None, there: Iterable[str | int]) -> None:
    known = dict.fromkeys(there)
    if wanted is not None and wanted not in known:
        raise UserError(one_of(what, str(wanted), map(str, known)))
