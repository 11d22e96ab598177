"""The suite's page: its sections, and the text before and after them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.rows import Measured
from bench.render.image import Image
from bench.render.pages import Part
from bench.render.table import Table
from bench.report.plan import as_planned
from bench.report.plots import PLOTS
from bench.report.sections import EFFECT, FORESEEN, SECTIONS
from bench.report.tables import TABLES
from bench.report.tables.columns import RETRIED

FILES = (
    "Made by `python -m bench run`. All files are in this page's folder. The unrounded numbers of every cell are in"
    " `cells.json`, those of every row in `metrics.json`. Commit, versions and machine are in `provenance.json`. `raw/`"
    " holds what was measured, item by item; `python -m bench report` makes everything else from it."
)
NO_FILES = "No cell was run yet, so the files of numbers in this page's folder are empty."


def page(
    measured: Measured, tables: dict[str, Table], images: dict[str, Image], foreseen: Sequence[Part] = ()
) -> list[Part]:
    """Return the whole page.

    Args:
        measured: the suite.
        tables: those of TABLES by name; one without rows is left out.
        images: those of PLOTS that have something to show, by name.
        foreseen: what the rows that were not run could decide.
    """
    asked = [question] if (question := measured.params.report.question) else []
    parts: list[Part] = [f"# Suite `{measured.params.suite}`: recovered accuracy", *asked, _what_is_measured(measured)]
    contents = {section: _content(section, measured, tables, images) for section in SECTIONS}
    later = {FORESEEN: list(foreseen)}
    for section, content in (contents | later if measured.results else later | contents).items():
        parts += [f"## {section}", *content] if content else []
    return [
        *parts,
        "## About these numbers",
        *measured.params.report.notes,
        *_diverged(measured),
        *_retried(measured),
        FILES if measured.results else NO_FILES,
    ]


def _content(section: str, measured: Measured, tables: dict[str, Table], images: dict[str, Image]) -> list[Part]:
    """Return a section's plots, then its tables, each with its explanation. Below the answers stands the plan."""
    content: list[Part] = [images[name] for name, view in PLOTS.items() if view.section == section and name in images]
    for name, view in TABLES.items():
        if view.section == section and tables[name].rows:
            content += [f"### {view.title}"] if view.title else []
            explained = view.explained(measured)
            content += [tables[name], *([explained] if explained else [])]
    return [*content, *(as_planned(measured) if section == EFFECT else [])]


def _what_is_measured(measured: Measured) -> str:
    """Say what the numbers are measured on, from the cells that were run or, before that, from the configuration."""
    params, protocol = measured.params, measured.params.protocol
    missing = len(params.cells) - len(measured.results)
    first = next(iter(measured.results.values()), None)
    n_items = f", {sum(task['n_items'] for task in first.summary['tasks'].values()):,} items" if first else ""
    limit = f" (the first {protocol.limit} of each)" if protocol.limit else ""
    per_window = protocol.perplexity.seq_len - 1  # tokens with a loss: the first of a window has none
    n_tokens = f"over {per_window * sum(map(len, first.window_losses.values())):,} tokens " if first else ""
    begin = ", each of which begins with a start token" if protocol.perplexity.start_token else ""
    return (
        f"{len(protocol.tasks)} tasks{n_items}{limit}, 0-shot `acc` in %. Perplexity {n_tokens}in windows of"
        f" {protocol.perplexity.seq_len}{begin}."
        " Log-prob is the log-probability of the right choice among the choices, in nats, averaged over items and"
        " tasks."
        + (" With several seeds a number is the mean ± standard deviation over seeds." if params.several_seeds else "")
        + (f" {missing} of {len(params.cells)} cells were not run, or not since they were edited." if missing else "")
    )


def _diverged(measured: Measured) -> list[str]:
    named = [
        f"{row.label} {row.cell.scheme or ''} ({row.n_diverged} of {len(row.keys)})"
        for row in measured.rows
        if row.n_diverged
    ]
    return [f"Diverged, and left out of all comparisons: {', '.join(named)}."] if named else []


def _retried(measured: Measured) -> list[str]:
    named = [cell for row in measured.rows for cell in row.retried]
    if not named:
        return []
    return [
        f"{RETRIED} departs from its recipe: a loss became NaN or infinite, and the block was trained again from its"
        f" start at lower learning rates ({'; '.join(named)}). `record.json` of the cell says more."
    ]
