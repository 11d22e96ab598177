"""The page's plots, in their order. A new one is a file beside this one and a line in PLOTS."""

from __future__ import annotations

from bench.report.plots import bits, by_task, effect, losses, recovered, sensitivity
from bench.report.sections import PlotView

PLOTS: dict[str, PlotView] = {
    "effect": effect.VIEW,
    "bits": bits.VIEW,
    "recovered": recovered.VIEW,
    "by_task": by_task.VIEW,
    "losses": losses.VIEW,
    "sensitivity": sensitivity.VIEW,
}
