"""The suite's plots, as PNG and SVG files that open anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.config import Params
from bench.image import Image
from bench.plots.bits import plot_bits
from bench.plots.losses import plot_losses
from bench.plots.recovered import plot_recovered
from bench.plots.sensitivity import plot_sensitivity
from bench.rows import Row

matplotlib.rcParams["svg.hashsalt"] = "swq"  # and no stamps below: the same numbers give the same bytes


@dataclass(frozen=True)
class Plot:
    """How a plot is drawn (None where it has nothing to show), and what it shows in words."""

    figure: Callable[[Params, list[Row]], Figure | None]
    shows: str


# A new plot is a file beside this one and a line here; bench/page.py says where it stands.
PLOTS = {
    "recovered": Plot(plot_recovered, "Recovered share of every comparison, with its interval"),
    "bits": Plot(plot_bits, "Perplexity and accuracy against stored bits per weight"),
    "losses": Plot(plot_losses, "Loss of every block after training, and SW's share of the loss and of the gradient"),
    "sensitivity": Plot(plot_sensitivity, "Perplexity and margin against SW's weight and the number of projections"),
}


def draw(folder: Path, params: Params, rows: list[Row]) -> dict[str, Image]:
    """Write every plot that has something to show as NAME.png and NAME.svg, and return them by name."""
    run = [row for row in rows if row.results]
    drawn = {}
    for name, plot in PLOTS.items():
        figure = plot.figure(params, run)
        if figure is None:
            continue
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=130, metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
        plt.close(figure)
        drawn[name] = Image(path, plot.shows)
    return drawn
