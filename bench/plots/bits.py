"""Perplexity and accuracy against what is stored per weight."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.config import Params
from bench.rows import Row

MARKERS = "osDv^<>Pp*hX"


def plot_bits(params: Params, rows: list[Row]) -> Figure | None:
    """Draw a column a model: a point a row, and full precision as a line."""
    models = list(dict.fromkeys(row.cell.model for row in rows))
    if not any(row.results[0].bits_per_weight for row in rows):
        return None
    text = next(iter(params.protocol.perplexity.texts))
    figure, axes = plt.subplots(2, len(models), figsize=(2 + 5 * len(models), 7), squeeze=False, layout="constrained")
    labels = list(dict.fromkeys(row.label for row in rows if row.cell.scheme))
    for column, model in enumerate(models):
        own = [row for row in rows if row.cell.model == model]
        for row in own:
            for axis, value in zip(axes[:, column], (row.perplexity(text), row.mean_accuracy()), strict=True):
                if value is None:
                    continue
                factor = 1 if axis is axes[0, column] else 100
                bits = row.results[0].bits_per_weight
                if bits is None:
                    axis.axhline(factor * value.mean, color="black", linestyle="--", linewidth=1, label=row.label)
                    continue
                place = labels.index(row.label)
                deviation = factor * value.deviation if value.deviation is not None else None
                style = {"color": f"C{place % 10}", "marker": MARKERS[place % len(MARKERS)], "linestyle": "none"}
                axis.errorbar(bits, factor * value.mean, yerr=deviation, label=row.label, alpha=0.8, **style)
        axes[0, column].set(title=model, yscale="log", ylabel=f"perplexity, {text}")
        axes[1, column].set(xlabel="bits per weight", ylabel="mean accuracy, %")
    handles: dict[str, Any] = {}
    for axis in axes.flat:
        found, called = axis.get_legend_handles_labels()
        handles |= dict(zip(called, found, strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    figure.suptitle(f"Suite {params.suite}: quality against bits per weight")
    return figure
