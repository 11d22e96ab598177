"""What SW gains task by task: a mean over tasks may hide that one gains what another loses."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.analysis.compare import compared, full_precision, strata
from bench.analysis.recovery import recovery
from bench.analysis.rows import Measured
from bench.report.plots.intervals import draw_interval
from bench.report.plots.names import names
from bench.report.sections import CHANGED, PlotView
from bench.report.tables.columns import short
from bench.report.tables.sw_effect import compared_rows

MEASURE = "log_probability"


def plot_by_task(measured: Measured) -> Figure | None:
    """Draw a panel for each row with SW: what it gains on each task in the right choice's log-probability."""
    params, rows = measured.params, compared_rows(measured)
    if not rows:
        return None
    called, tasks = names(measured.run), params.protocol.tasks
    size = (1.5 + 2.8 * len(rows), 1.4 + 0.35 * len(tasks))
    figure, panels = plt.subplots(1, len(rows), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for row, axes in zip(rows, panels[0], strict=True):
        reference = full_precision(params, measured.results, row.keys)
        assert reference is not None, "a row that can be compared has its full precision"
        for line, stratum in enumerate(strata(reference, compared(params, measured.results, row.keys), MEASURE)):
            draw_interval(axes, line, recovery([stratum]).gained, 1, fmt="D", markersize=5, color="C0")
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set(title=called[row.keys], xlabel="log-probability gained, sd")
        axes.title.set_fontsize(9)
    panels[0, 0].set_yticks(range(len(tasks)), [short(task) for task in tasks])
    panels[0, 0].set_ylim(len(tasks) - 0.5, -0.5)
    figure.suptitle(f"Suite {params.suite}: what SW gains on each task, in standard deviations of FP's items")
    return figure


VIEW = PlotView(CHANGED, plot_by_task, "What SW gains on each task in the right choice's log-probability")
