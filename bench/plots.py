"""The suite's plots, as PNG files that open anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.config import Params
from bench.results import MEASURES, CellResult, labels
from bench.statistics import Recovery

matplotlib.rcParams["svg.hashsalt"] = "swq"  # and no stamps below: the same numbers give the same bytes


def _save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG to `path`, and as SVG beside it."""
    figure.savefig(path, dpi=130, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    plt.close(figure)


def plot_recovered(
    path: Path, params: Params, results: dict[str, CellResult], recovered: dict[str, dict[str, Recovery]]
) -> None:
    """Draw the recovered share of every comparison with its interval: a panel a measure, each on its own scale."""
    called = labels(params)
    names = [f"{called[key]}\nvs {called[params.report.baselines[key]]}" for key in recovered]
    figure, panels = plt.subplots(
        1, len(MEASURES), figsize=(11, 0.6 * max(len(names), 1) + 1.5), sharey=True, layout="constrained"
    )
    for place, (measure, axes) in enumerate(zip(MEASURES, panels, strict=True)):
        for row, key in enumerate(recovered):
            _plot_share(axes, row, recovered[key][measure], f"C{place}")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(title=f"of lost {measure.replace('_', '-')}", xlabel="%")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(max(len(names), 1) - 0.5, -0.5)
    figure.suptitle(f"Suite {params.suite}: recovered share of what the base lost, with 95 % intervals over items")
    _save(figure, path)


def _plot_share(axes: Axes, row: int, recovered: Recovery, color: str) -> None:
    share = recovered.share
    if share is None:
        place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "center", "va": "center"}
        note = axes.text(0.5, row, f"n/a: {recovered.withheld}", fontsize=8, color="gray", **place)
        note.set_in_layout(False)
        return
    ends = [[100 * (share.point - share.low)], [100 * (share.high - share.point)]]
    axes.errorbar(100 * share.point, row, xerr=ends, fmt="o", capsize=4, color=color)


def plot_losses(path: Path, params: Params, results: dict[str, CellResult]) -> None:
    """Draw, per block, each trained cell's first loss term after training, and SW's share of loss and gradient."""
    trained = {key: result for key, result in results.items() if params.cells[key].loss is not None}
    called = labels(params)
    height = 4 + 0.15 * len(trained)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, height), layout="constrained")
    for place, (key, result) in enumerate(trained.items()):
        _plot_base_term(left, params, result, called[key], f"C{place}")
        _plot_sw(middle, result, f"C{place}", lambda row: row["sw"] / row["loss"])
        _plot_sw(right, result, f"C{place}", lambda row: row.get("sw_grad_share", math.nan))
    figure.suptitle(f"Suite {params.suite}")
    left.set(xlabel="block", ylabel="base loss, mean of the last epoch", yscale="log", title="Reconstruction error")
    middle.set(xlabel="block", ylabel="%", yscale="log", title="SW's share of the loss, last epoch")
    right.set(xlabel="block", ylabel="%", ylim=(0, None), title="SW's share of the gradient norms, last epoch")
    if trained:  # one legend for all three, beside what it would cover
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    _save(figure, path)


def _last_epochs(result: CellResult) -> list[dict[str, float]]:
    return list({row["block"]: row for row in result.losses}.values())


def _plot_base_term(axes: Axes, params: Params, result: CellResult, label: str, color: str) -> None:
    loss = params.cells[result.key].loss
    assert loss is not None
    base = next((name for name, weight in loss.weights.items() if weight and name != "sw"), None)
    if base:
        rows = _last_epochs(result)
        values = [row[base] / loss.weights[base] for row in rows]
        axes.plot([row["block"] for row in rows], values, label=f"{label}: {base}", color=color)


def _plot_sw(axes: Axes, result: CellResult, color: str, share: Callable[[dict[str, float]], float]) -> None:
    rows = [row for row in _last_epochs(result) if "sw" in row]
    if rows:
        axes.plot([row["block"] for row in rows], [100 * share(row) for row in rows], color=color)
