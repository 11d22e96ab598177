"""A part of a suite: the cells of one model, or of one scheme."""

from __future__ import annotations

from bench.config.params import Params
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
