"""What was measured here beside what others printed, for models that have published figures."""

from __future__ import annotations

from bench.cell import Cell
from bench.config import Params
from bench.published import Figure, Registry, cite
from bench.rows import Row, Spread
from bench.sources import HubModel
from bench.table import Table
from bench.tables import DIVERGED, NOT_RUN, Naming, seeds_run


def published_table(params: Params, rows: list[Row], registry: Registry) -> list[str | Table]:
    """Return a section with a row per row of which anything is published, and the sources; empty if there is none.

    A cell with a sliced-Wasserstein term has no published figures: its paper gives ranges of recovered shares only.
    """
    figures = [(row, _figures(params, row.cell, registry)) for row in rows]
    figures = [(row, found) for row, found in figures if found]
    if not figures:
        return []
    naming, texts, tasks = Naming(params, seeds_run), params.protocol.perplexity.texts, params.protocol.tasks
    body = []
    for row, found in figures:
        line = naming.of(row)
        for text in texts:
            printed = {figure.source: figure.perplexity.get(text) for figure in found}
            line += _pair(row, row.perplexity(text), 1, printed)
        line += _pair(row, row.mean_accuracy(), 100, {figure.source: figure.mean_accuracy(tasks) for figure in found})
        body.append(line)
    headers = list(naming.headers)
    for what in [*(f"{text} ppl" for text in texts), "mean acc"]:
        headers += [what, "published"]
    return [
        "## Beside the published figures",
        Table(body, headers, left=len(naming.headers)),
        "In brackets behind a measured number: how far it is from the first published one. Their recipes are not"
        " always this suite's (`conf/published.yaml` notes where); full precision and RTN have no recipe, so where"
        " those rows differ, the protocol does. Means of published accuracies are recomputed from their tasks. "
        + registry.sources_of(figure.source for _, found in figures for figure in found),
    ]


def _figures(params: Params, cell: Cell, registry: Registry) -> list[Figure]:
    source = params.models.get(cell.model)
    if not isinstance(source, HubModel) or cell.has_sw:
        return []
    return registry.find(source.repo, cell.method_name, str(cell.scheme) if cell.scheme else None)


def _pair(row: Row, measured: Spread | None, factor: float, figures: dict[str, float | None]) -> tuple[str, str]:
    """Return the measured number and the published ones, by source, as text."""
    printed = {source: value for source, value in figures.items() if value is not None}
    published = ", ".join(cite(value, source) for source, value in printed.items())
    if not row.results:
        return NOT_RUN, published
    if measured is None:
        return DIVERGED, published
    value = factor * measured.mean
    change = f" ({100 * (value / next(iter(printed.values())) - 1):+.1f} %)" if printed else ""
    return f"{value:.2f}{change}", published
