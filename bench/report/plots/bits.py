"""Perplexity and accuracy against what is stored per weight. Lines of rows without SW are dashed."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.rows import Measured, Row, Spread
from bench.report.plots.names import legend, line_of, perplexity_label
from bench.report.sections import QUALITY, PlotView

MARKERS = "osDv^<>Pp*hX"


def plot_bits(measured: Measured) -> Figure | None:
    """Draw a row of panels per model: one line per method through its schemes, full precision as a horizontal line."""
    params, rows = measured.params, measured.run
    models = list(dict.fromkeys(row.cell.model for row in rows))
    labels = list(dict.fromkeys(row.label for row in rows if row.results[0].bits_per_weight))
    if not labels:
        return None
    text = next(iter(params.protocol.perplexity.texts))
    figure, panels = plt.subplots(
        len(models), 2, figsize=(11, 1 + 3.5 * len(models)), squeeze=False, layout="constrained"
    )
    for (left, right), model in zip(panels, models, strict=True):
        own = [row for row in rows if row.cell.model == model]
        _plot_panel(left, labels, [(row, row.perplexity(text)) for row in own], 1)
        _plot_panel(right, labels, [(row, row.mean_accuracy()) for row in own], 100)
        left.set(yscale="log", ylabel=perplexity_label(text), title=model)
        right.set(ylabel="mean accuracy, %", title=model)
    for axes in panels[-1]:
        axes.set_xlabel("bits per weight")
    handles = legend(panels.flat)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    figure.suptitle(f"Suite {params.suite}: quality against bits per weight")
    return figure


def _plot_panel(axes: Axes, labels: list[str], values: list[tuple[Row, Spread | None]], factor: float) -> None:
    measured = [(row.label, row.results[0].bits_per_weight, spread) for row, spread in values if spread is not None]
    lines = {row.label: line_of(row) for row, _ in values}
    for label, bits, spread in measured:
        if bits is None:
            axes.axhline(factor * spread.mean, color="black", linestyle=":", linewidth=1, label=label)
    for place, label in enumerate(labels):
        points = sorted((bits, s.mean, s.deviation or 0.0) for name, bits, s in measured if name == label and bits)
        if points:
            x, means, deviations = zip(*points, strict=True)
            y, bars = ([factor * value for value in part] for part in (means, deviations))
            style: dict[str, Any] = {"color": f"C{place % 10}", "marker": MARKERS[place % len(MARKERS)], "linewidth": 1}
            axes.errorbar(x, y, yerr=bars, label=label, alpha=0.8, linestyle=lines[label], **style)


VIEW = PlotView(QUALITY, plot_bits, "Perplexity and accuracy against stored bits per weight")
