"""How perplexity and log-probability depend on SW's weight and on the number of projections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.rows import Measured, Row, Spread
from bench.config.labels import label
from bench.report.plots.names import perplexity_label
from bench.report.sections import TRAINING, PlotView
from swq.identity import fingerprint
from swq.losses import Loss

Series = dict[float, Row]


def plot_sensitivity(measured: Measured) -> Figure | None:
    """Draw a line through rows that differ only in SW's weight, and one through rows that differ only in K."""
    params, rows = measured.params, measured.run
    panels = {"SW's share of the weights": by_weight(rows), "projections per step": by_projections(rows)}
    panels = {name: series for name, series in panels.items() if series}
    if not panels:
        return None
    text = next(iter(params.protocol.perplexity.texts))
    figure, axes = plt.subplots(2, len(panels), figsize=(6 * len(panels), 7), squeeze=False, layout="constrained")
    for column, (name, series) in enumerate(panels.items()):
        for place, (called, line) in enumerate(series.items()):
            _plot(axes[0, column], line, lambda row: row.perplexity(text), called, f"C{place}")
            _plot(axes[1, column], line, Row.mean_log_probability, called, f"C{place}")
        axes[0, column].set(ylabel=perplexity_label(text))
        axes[1, column].set(xlabel=name, ylabel="log-probability, nats")
        axes[0, column].legend(fontsize=8)
        if name.startswith("projections"):
            for axis in axes[:, column]:
                axis.set_xscale("log", base=2)
    drawn = [row for series in panels.values() for line in series.values() for row in line.values()]
    bars = "bars: deviation over seeds" if any(len(row.results) > 1 for row in drawn) else "one seed"
    figure.suptitle(f"Suite {params.suite}: sensitivity to the sliced-Wasserstein term ({bars})")
    return figure


def by_weight(rows: list[Row]) -> dict[str, Series]:
    """Return lines of rows that differ only in SW's weight, by its share of all weights.

    Each begins with the row without SW. A line of only one weight above 0 shows nothing and is left out.
    """
    found = _lines(rows, lambda loss: (_others(loss), *_form(loss)), _share)
    plain = {(_recipe(row), _others(row.cell.loss)): row for row in rows if row.cell.loss and not row.cell.has_sw}
    for (recipe, (others, *_)), line in found.items():
        if len(line) > 1 and (recipe, others) in plain:
            line[0.0] = plain[recipe, others]
    return _named(found.values(), lambda loss: f"K = {loss.n_projections}, {_scaled(loss)}")


def by_projections(rows: list[Row]) -> dict[str, Series]:
    """Return lines of rows that differ only in the number of projections."""
    alike = _lines(rows, lambda loss: (str(replace(loss, n_projections=1)),), lambda loss: loss.n_projections)
    return _named(alike.values(), lambda loss: f"{_share(loss):.2g} SW, {_scaled(loss)}")


def _lines(
    rows: list[Row], fixed: Callable[[Loss], tuple[Any, ...]], varied: Callable[[Loss], float]
) -> dict[tuple[str, tuple[Any, ...]], Series]:
    """Return the rows with SW that share their recipe and the `fixed` part of their loss, by the `varied` part."""
    found: dict[tuple[str, tuple[Any, ...]], Series] = {}
    for row in rows:
        if row.cell.loss and row.cell.has_sw:
            found.setdefault((_recipe(row), fixed(row.cell.loss)), {})[varied(row.cell.loss)] = row
    return found


def _recipe(row: Row) -> str:
    """Return everything that decides a row except its loss and its seeds."""
    cell = row.cell
    recipe = {name: value for name, value in cell.as_data().items() if name not in ("loss", "seed")}
    return fingerprint([cell.model, cell.calibration, recipe])


def _form(loss: Loss) -> tuple[int | bool, ...]:
    return loss.n_projections, loss.sw_block_size, loss.normalised, loss.sw_start_block


def _share(loss: Loss) -> float:
    return loss.weights.get("sw", 0.0) / sum(loss.weights.values())


def _others(loss: Loss) -> tuple[str, ...]:
    return tuple(name for name in loss.weights if name != "sw")


def _named(lines: Iterable[Series], what: Callable[[Loss], str]) -> dict[str, Series]:
    """Return the lines of more than one row by name: their recipe, and what is fixed of their loss."""
    found: dict[str, Series] = {}
    for line in lines:
        ordered = dict(sorted(line.items()))
        last = list(ordered.values())[-1]  # one with SW: the row without it comes first
        assert last.cell.loss is not None
        if len(ordered) > 1:
            name = f"{label(last.cell)} {last.cell.scheme}, {what(last.cell.loss)}"
            found[name if name not in found else f"{name} ({last.name})"] = ordered
    return found


def _scaled(loss: Loss) -> str:
    return "normalised" if loss.normalised else "unscaled"


def _plot(axes: Axes, line: Series, value: Callable[[Row], Spread | None], called: str, color: str) -> None:
    """Draw a line; the standard deviation over seeds as bars, where there are several."""
    found = {x: spread for x, row in line.items() if (spread := value(row)) is not None}
    deviations = [spread.deviation for spread in found.values()]
    bars = [deviation or 0.0 for deviation in deviations] if any(deviations) else None
    axes.errorbar(list(found), [s.mean for s in found.values()], yerr=bars, label=called, color=color, marker="o")


VIEW = PlotView(
    TRAINING, plot_sensitivity, "Perplexity and log-probability against SW's weight and the number of projections"
)
