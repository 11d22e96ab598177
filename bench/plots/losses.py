"""What training reached in every block, and how much of it was SW's doing."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.config import Params
from bench.plots.names import names
from bench.rows import Row

Losses = dict[str, float]


def plot_losses(params: Params, rows: list[Row]) -> Figure | None:
    """Draw, per block, each trained row's first loss term after training, and SW's share of loss and gradient.

    Of several seeds their mean.
    """
    trained = [row for row in rows if row.cell.loss is not None]
    if not trained:
        return None
    called = names(rows)
    height = 4 + 0.15 * len(trained)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, height), layout="constrained")
    for place, row in enumerate(trained):
        color = f"C{place % 10}"
        _plot_base_term(left, row, called[row.keys], color)
        _plot_sw(middle, row, color, lambda losses: losses["sw"] / losses["loss"])
        _plot_sw(right, row, color, lambda losses: losses.get("sw_grad_share", math.nan))
    figure.suptitle(f"Suite {params.suite}")
    left.set(xlabel="block", ylabel="base loss, mean of the last epoch", yscale="log", title="Reconstruction error")
    middle.set(xlabel="block", ylabel="%", yscale="log", title="SW's share of the loss, last epoch")
    right.set(xlabel="block", ylabel="%", ylim=(0, None), title="SW's share of the gradient norms, last epoch")
    # One legend for all three, beside what it would cover.
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _by_block(row: Row, value: Callable[[Losses], float]) -> tuple[list[int], list[float]]:
    """Return the blocks, and the mean over seeds of a value of their last epochs."""
    seeds = [{int(losses["block"]): value(losses) for losses in result.losses} for result in row.results]
    blocks = sorted(set.intersection(*(set(seed) for seed in seeds)))
    return blocks, [fmean(seed[block] for seed in seeds) for block in blocks]


def _plot_base_term(axes: Axes, row: Row, label: str, color: str) -> None:
    assert row.cell.loss is not None
    weights = row.cell.loss.weights
    base = next((name for name, weight in weights.items() if weight and name != "sw"), None)
    if base:
        axes.plot(*_by_block(row, lambda losses: losses[base] / weights[base]), label=f"{label}: {base}", color=color)


def _plot_sw(axes: Axes, row: Row, color: str, share: Callable[[Losses], float]) -> None:
    if any("sw" in losses for losses in row.results[0].losses):
        blocks, shares = _by_block(row, share)
        axes.plot(blocks, [100 * value for value in shares], color=color)
