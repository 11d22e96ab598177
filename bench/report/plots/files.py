"""Plots as PNG and SVG files that open anywhere; the same numbers give the same bytes."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from bench.analysis.rows import Measured
from bench.render.image import Image
from bench.report.plots import PLOTS

matplotlib.rcParams["svg.hashsalt"] = "swq"  # SVG's names of elements are random otherwise


def draw(folder: Path, measured: Measured) -> dict[str, Image]:
    """Write every plot that has something to show as NAME.png and NAME.svg, and return them by name."""
    drawn = {}
    for name, view in PLOTS.items():
        figure = view.draw(measured)
        if figure is None:
            continue
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=130, metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
        plt.close(figure)
        drawn[name] = Image(path, view.shows)
    return drawn
