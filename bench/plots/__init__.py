"""The suite's plots, as PNG and SVG files that open anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.config import Params
from bench.plots.bits import plot_bits
from bench.plots.losses import plot_losses
from bench.plots.recovered import plot_recovered
from bench.plots.sensitivity import plot_sensitivity
from bench.rows import Row

matplotlib.rcParams["svg.hashsalt"] = "swq"  # and no stamps below: the same numbers give the same bytes

# A new plot is a function in a file beside this one, which returns None where it has nothing to show, and a line here.
PLOTS: dict[str, Callable[[Params, list[Row]], Figure | None]] = {
    "recovered": plot_recovered,
    "bits": plot_bits,
    "losses": plot_losses,
    "sensitivity": plot_sensitivity,
}


def draw(folder: Path, params: Params, rows: list[Row]) -> list[Path]:
    """Write every plot that has something to show as NAME.png and NAME.svg; return the PNG files in their order."""
    run = [row for row in rows if row.results]
    written = []
    for name, plot in PLOTS.items():
        figure = plot(params, run)
        if figure is None:
            continue
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=130, metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
        plt.close(figure)
        written.append(path)
    return written
