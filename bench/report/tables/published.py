"""What was measured here beside what others printed, for models that have published figures."""

from __future__ import annotations

from bench.analysis.rows import Measured, Row, Spread
from bench.config.cell import Cell
from bench.config.params import Params
from bench.config.sources import HubModel
from bench.published.figures import Figure, Registry, cite, load_published
from bench.render.table import Table
from bench.report.sections import PUBLISHED, TableView
from bench.report.tables.columns import DIVERGED, NOT_RUN, Naming, seeds_run


def published_table(measured: Measured) -> Table:
    """A line for each row with published figures: the measured numbers, and the published ones beside them.

    A cell with a sliced-Wasserstein term has no published figures: its paper gives ranges of recovered shares only.
    """
    protocol, naming = measured.params.protocol, Naming(measured.params, seeds_run)
    texts, tasks = protocol.perplexity.texts, protocol.tasks
    body = []
    for row, found in _figures_by_row(measured):
        line = naming.of(row)
        for text in texts:
            printed = {figure.source: figure.perplexity.get(text) for figure in found}
            line += _pair(row, row.perplexity(text), 1, printed)
        line += _pair(row, row.mean_accuracy(), 100, {figure.source: figure.mean_accuracy(tasks) for figure in found})
        body.append(line)
    headers = list(naming.headers)
    for what in [*(f"{text} ppl" for text in texts), "mean acc"]:
        headers += [what, "published"]
    return Table(body, headers, left=len(naming.headers))


def how_to_compare(measured: Measured) -> str:
    """Say what may differ between the two, and name the sources."""
    found = [figure for _, figures in _figures_by_row(measured) for figure in figures]
    brackets = "The number in brackets says how far a measured number is from the first published one. "
    return (
        (brackets if measured.results else "") + "The letters in brackets name sources. The published recipes"
        " sometimes differ from this suite's; `conf/published.yaml` notes where. Full precision and RTN have no recipe:"
        " where those rows differ, the protocol differs. Means of published accuracies are recomputed from their"
        " tasks. " + load_published().sources_of(figure.source for figure in found)
    )


def _figures_by_row(measured: Measured) -> list[tuple[Row, list[Figure]]]:
    if not any(isinstance(source, HubModel) for source in measured.params.models.values()):
        return []
    registry = load_published()
    pairs = [(row, _figures(measured.params, row.cell, registry)) for row in measured.rows]
    return [(row, found) for row, found in pairs if found]


def _figures(params: Params, cell: Cell, registry: Registry) -> list[Figure]:
    source = params.models.get(cell.model)
    if not isinstance(source, HubModel) or cell.has_sw:
        return []
    return registry.find(source.repo, cell.method_name, str(cell.scheme) if cell.scheme else None)


def _pair(row: Row, value: Spread | None, factor: float, figures: dict[str, float | None]) -> tuple[str, str]:
    """Return the measured number and the published ones, by source, as text."""
    printed = {source: number for source, number in figures.items() if number is not None}
    published = ", ".join(cite(number, source) for source, number in printed.items())
    if not row.results:
        return NOT_RUN, published
    if value is None:
        return DIVERGED, published
    mean = factor * value.mean
    change = f" ({100 * (mean / next(iter(printed.values())) - 1):+.1f} %)" if printed else ""
    return f"{mean:.2f}{change}", published


VIEW = TableView(PUBLISHED, published_table, how_to_compare)
