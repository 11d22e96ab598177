"""What of a claim's row was made as published: full precision, RTN, and rows of its method by a published recipe.

A method's figures depend on its recipe: a base that was calibrated on another text is not expected to reach them. So a
row is judged by figures of its own recipe only, and a method is anchored by the rows that follow a published one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.analysis.results import CellResult
from bench.config.cell import Cell
from bench.config.params import Params
from bench.config.seeds import SeedGroup
from bench.config.sources import HubModel
from bench.published.claims import Claims
from bench.published.figures import TEXTS, Figure, KnownRecipe, Registry
from swq.methods import METHODS

RECIPELESS = ("fp", "rtn")  # without a recipe, only the protocol can differ
COLLAPSED = 100  # perplexities above it are published to two digits and differ between libraries
NO_ANCHOR = "no anchor"


@dataclass(frozen=True)
class Standing:
    """How a claim's row stands to what is published.

    Attributes:
        wrong: what was not made or measured as published; None if nothing is known to be.
        anchor: which rows of the row's method by a published recipe were compared with their figures; that they were
            not run; or that there is none.
    """

    wrong: str | None
    anchor: str


def standing(
    params: Params, keys: SeedGroup, claims: Claims, results: dict[str, CellResult], registry: Registry
) -> Standing:
    """Say how a row stands to what is published.

    It is wrong if a block of it or of its base was not trained as the recipe says, or if full precision, RTN at its
    scheme, or its method by a published recipe misses the published perplexity. Where sources disagree, it is enough to
    agree with one.
    """
    wrong = _retried(params, keys, results)
    compared, waiting = [], []
    for key, text, printed in _anchors(params, keys, claims, registry):
        method = params.cells[key].method_name
        if key not in results:
            waiting += [key] if method not in RECIPELESS else []
            continue
        if text not in results[key].summary["perplexity"]:
            continue
        measured = results[key].summary["perplexity"][text]
        said = ", ".join(f"{value:g} ({place})" for place, value in printed.items())
        found = "diverged" if measured is None else f"{measured:.2f}"
        told = f"{key}: {text} perplexity {found}, published {said}"
        near = [abs(measured / value - 1) <= claims.tolerance[method] / 100 for value in printed.values() if measured]
        if not any(near):
            wrong = wrong or told
        elif method not in RECIPELESS:
            compared.append(told)
    if not compared and waiting:
        return Standing(wrong, f"not run: {', '.join(dict.fromkeys(waiting))}")
    return Standing(wrong, "; ".join(compared) or NO_ANCHOR)


def _retried(params: Params, keys: SeedGroup, results: dict[str, CellResult]) -> str | None:
    bases = {params.report.baselines[key] for key in keys}
    for key in (*keys, *sorted(bases)):
        if key in results and (blocks := results[key].retried_blocks):
            return f"{key}: block {', '.join(blocks)} was trained again at a lower rate than the recipe's"
    return None


def _anchors(
    params: Params, keys: SeedGroup, claims: Claims, registry: Registry
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield the suite's cells that a row is judged by, run or not: key, text, and the published perplexities by source.

    A perplexity that is published only for a collapsed model judges nothing.
    """
    cell = params.cells[keys[0]]
    source = params.models[cell.model]
    assert isinstance(source, HubModel), "claims are about models on the hub"
    for key, other in params.cells.items():
        name = other.method_name
        if other.model != cell.model or other.scheme not in (None, cell.scheme) or other.has_sw:
            continue
        if name not in claims.tolerance or name not in (*RECIPELESS, cell.method_name):
            continue
        figures = registry.find(source.repo, name, str(other.scheme) if other.scheme else None)
        figures = [figure for figure in figures if name in RECIPELESS or _alike(params, other, figure, registry)]
        for text in TEXTS:
            printed = {figure.source: figure.perplexity[text] for figure in figures if text in figure.perplexity}
            if printed and min(printed.values()) <= COLLAPSED:
                yield key, text, printed


def _alike(params: Params, cell: Cell, figure: Figure, registry: Registry) -> bool:
    """Say whether a cell follows a figure's recipe, in all that is known of it. Its calibration must be known."""
    recipe = registry.recipes.get(figure.recipe or "")
    if recipe is None or recipe.calibration is None:
        return False
    ours = params.calibrations[cell.calibration]
    known = recipe.calibration.model_dump(exclude_none=True, exclude={"seed"})  # another draw of the same text
    return all(getattr(ours, name) == value for name, value in known.items()) and _trained_alike(cell, recipe)


def _trained_alike(cell: Cell, recipe: KnownRecipe) -> bool:
    if recipe.precision not in (None, cell.precision):
        return False
    weights = {term: weight for term, weight in cell.loss.weights.items() if weight} if cell.loss else {}
    if recipe.loss and recipe.loss != weights:
        return False
    return all(_same(getattr(cell.method, name), value) for name, value in recipe.method.items())


def _same(ours: Any, known: Any) -> bool:
    """Compare a setting with what is known of it; of a start, its name and the settings that are written down."""
    if isinstance(known, dict):
        named = METHODS.get(known["name"])
        return type(ours) is named and all(_same(getattr(ours, k), v) for k, v in known.items() if k != "name")
    return bool(tuple(ours) == tuple(known)) if isinstance(known, list) else bool(ours == known)
