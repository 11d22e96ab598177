"""What loss training reached in every block, and SW's share of it."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.rows import Measured, Row
from bench.analysis.sw_share import Losses, by_block, has_shares, of_gradient, of_loss
from bench.report.plots.names import line_of, names
from bench.report.sections import TRAINING, PlotView
from swq.losses import SW_TERMS


def plot_losses(measured: Measured) -> Figure | None:
    """Draw, per block, each trained row's first loss term after training, and SW's share of loss and gradient.

    Several seeds are averaged. Lines of rows without SW are dashed.
    """
    rows = measured.run
    trained = [row for row in rows if row.cell.loss is not None]
    if not trained:
        return None
    called = names(rows)
    height = 4 + 0.15 * len(trained)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, height), layout="constrained")
    for place, row in enumerate(trained):
        color = f"C{place % 10}"
        _plot_base_term(left, row, called[row.keys], color)
        _plot_sw(middle, row, color, of_loss)
        _plot_sw(right, row, color, of_gradient)
    figure.suptitle(f"Suite {measured.params.suite}")
    left.set(xlabel="block", ylabel="base loss, mean of the last epoch", yscale="log", title="Reconstruction error")
    middle.set(xlabel="block", ylabel="%", yscale="log", title="SW's share of the loss, last epoch")
    right.set(xlabel="block", ylabel="%", yscale="log", title="SW's share of the gradient norms, last epoch")
    # One legend for all three panels, outside them so that it covers nothing.
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _plot_base_term(axes: Axes, row: Row, label: str, color: str) -> None:
    assert row.cell.loss is not None
    weights = row.cell.loss.weights
    base = next((name for name, weight in weights.items() if weight and name not in SW_TERMS), None)
    if base:
        blocks, losses = by_block(row, lambda losses: losses[base] / weights[base])
        axes.plot(blocks, losses, label=f"{label}: {base}", color=color, linestyle=line_of(row))


def _plot_sw(axes: Axes, row: Row, color: str, share: Callable[[Losses], float]) -> None:
    if has_shares(row):
        blocks, shares = by_block(row, share)
        axes.plot(blocks, [100 * value for value in shares], color=color, linestyle=line_of(row))


VIEW = PlotView(
    TRAINING, plot_losses, "Loss of every block after training, and SW's share of the loss and of the gradient"
)
