"""What rows and measures are called in a legend or beside an axis, and how rows are told apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes

from bench.analysis.rows import Row


def names(rows: list[Row]) -> dict[tuple[str, ...], str]:
    """Return each row's label, with its model and scheme where the rows have several."""
    models, schemes = ({getattr(row.cell, name) for row in rows} - {None} for name in ("model", "scheme"))

    def name(row: Row) -> str:
        model = [row.cell.model] if len(models) > 1 else []
        scheme = [str(row.cell.scheme)] if len(schemes) > 1 and row.cell.scheme else []
        return " ".join([*model, row.label, *scheme])

    return {row.keys: name(row) for row in rows}


def perplexity_label(text: str) -> str:
    """Return what an axis of a text's perplexity says; a protocol with one text may call that `perplexity` itself."""
    return "perplexity" if text == "perplexity" else f"perplexity, {text}"


def legend(panels: Iterable[Axes]) -> dict[str, Any]:
    """Return the handles of a figure's legend by their labels: one of each, whatever panels it is in."""
    handles: dict[str, Any] = {}
    for axes in panels:
        found, called = axes.get_legend_handles_labels()
        handles |= dict(zip(called, found, strict=True))
    return handles


def line_of(row: Row) -> str:
    """Return the style of a row's line: whole with SW, dashed without."""
    return "-" if row.cell.has_sw else "--"
