"""How far a row is from its base, in codes, and from full precision, in KL divergence."""

from __future__ import annotations

from bench.analysis.rows import Measured, Row
from bench.render.table import Table
from bench.report.sections import QUALITY, TableView
from bench.report.tables.columns import Naming, seeds_run, show_spread

EXPLAINED = (
    "Other codes: the share of weights that have another code than in the row's base, in %. Two trainings that differ"
    " in anything drift apart by chance, so a share says little alone: compare it with that of a placebo."
)
KL = (
    " KL: the divergence of the next token's distribution from full precision's, in nats a token, on the first"
    " {n} windows of each text."
)


def distance_table(measured: Measured) -> Table:
    """A line for each row whose codes were compared with its base's, or whose divergence was measured."""
    naming, texts = Naming(measured.params, seeds_run), _texts(measured)
    rows = [row for row in measured.run if row.cell.scheme and (texts or row.different_codes())]
    body = [
        [*naming.of(row), row.base or "", _codes(row), *(show_spread(row.divergence(text), 4) for text in texts)]
        for row in rows
    ]
    headers = [*naming.headers, "base", "other codes, %", *(f"KL, {text}" for text in texts)]
    return Table(body, headers, left=len(naming.headers) + 1)


def _texts(measured: Measured) -> list[str]:
    perplexity = measured.params.protocol.perplexity
    return list(perplexity.texts) if perplexity.kl_windows else []


def _codes(row: Row) -> str:
    share = row.different_codes()
    return share.show(1, 100) if share else ""


def explained(measured: Measured) -> str:
    windows = measured.params.protocol.perplexity.kl_windows
    return EXPLAINED + (KL.format(n=windows) if windows else "")


VIEW = TableView(QUALITY, distance_table, explained, title="How far from the base, and from full precision")
