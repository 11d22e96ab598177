"""What was measured here beside what others printed, for models that have published figures."""

from __future__ import annotations

from bench.cell import Cell
from bench.config import Params
from bench.published import Figure, Registry
from bench.results import CellResult
from bench.sources import HubModel
from bench.table import Table
from bench.tables import NOT_RUN, cell_names, name_headers


def published_table(params: Params, results: dict[str, CellResult], registry: Registry) -> list[str | Table]:
    """Return a section with a row per cell of which anything is published, and the sources; empty if there is none.

    A cell with a sliced-Wasserstein term has no published figures: its paper gives ranges of recovered shares only.
    """
    figures = {key: _figures(params, cell, registry) for key, cell in params.cells.items()}
    figures = {key: found for key, found in figures.items() if found}
    if not figures:
        return []
    names, texts, tasks = cell_names(params), params.protocol.perplexity.texts, params.protocol.tasks
    rows = []
    for key, found in figures.items():
        result = results.get(key)
        row = list(names[key])
        for text in texts:
            measured = result.summary["perplexity"][text] if result else None
            row += _pair(measured, result is None, {figure.source: figure.perplexity.get(text) for figure in found})
        accuracy = 100 * result.mean_accuracy if result and result.mean_accuracy is not None else None
        row += _pair(accuracy, result is None, {figure.source: figure.mean_accuracy(tasks) for figure in found})
        rows.append(row)
    headers = [*name_headers(params)]
    for what in [*(f"{text} ppl" for text in texts), "mean acc"]:
        headers += [what, "published"]
    used = sorted({figure.source for found in figures.values() for figure in found})
    return [
        "## Beside the published figures",
        Table(rows, headers, left=len(name_headers(params))),
        "In brackets behind a measured number: how far it is from the first published one. Their recipes are not"
        " always this suite's (`conf/published.yaml` notes where); full precision and RTN have no recipe, so where"
        " those rows differ, the protocol does. Means of published accuracies are recomputed from their tasks."
        " Sources: " + "; ".join(f"{source}: {registry.sources[source]}" for source in used) + ".",
    ]


def _figures(params: Params, cell: Cell, registry: Registry) -> list[Figure]:
    source = params.models.get(cell.model)
    if not isinstance(source, HubModel) or (cell.loss and cell.loss.weights.get("sw")):
        return []
    return registry.find(source.repo, cell.method_name, str(cell.scheme) if cell.scheme else None)


def _pair(measured: float | None, not_run: bool, figures: dict[str, float | None]) -> tuple[str, str]:
    """Return the measured number and the published ones, by source, as text."""
    printed = {source: value for source, value in figures.items() if value is not None}
    published = ", ".join(f"{value:.{2 if value < 1000 else 0}f} ({source})" for source, value in printed.items())
    if not_run:
        return NOT_RUN, published
    if measured is None:
        return "diverged", published
    change = f" ({100 * (measured / next(iter(printed.values())) - 1):+.1f} %)" if printed else ""
    return f"{measured:.2f}{change}", published
