"""The parts of a page: sections in their order, each with its plots and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.analysis.rows import Measured
    from bench.render.table import Table

EFFECT = "Does SW help?"
QUALITY = "Quality"
RECOVERED = "Share of the loss that is recovered, and the cost"
CHANGED = "Answers that changed"
TRAINING = "Training"
PUBLISHED = "Beside the published figures"
NOT_RUN = "What was not run"
FORESEEN = "What it could decide"
SECTIONS = (EFFECT, QUALITY, RECOVERED, CHANGED, TRAINING, PUBLISHED, NOT_RUN)


@dataclass(frozen=True)
class TableView:
    """A table on the page.

    Attributes:
        section: where it stands.
        build: makes it; a table without rows is left out.
        explained: returns the paragraph below it; empty for none.
        title: of its own, where the section holds several.
    """

    section: str
    build: Callable[[Measured], Table]
    explained: Callable[[Measured], str] = lambda _: ""
    title: str | None = None


@dataclass(frozen=True)
class PlotView:
    """A plot on the page, above the section's tables.

    Attributes:
        section: where it stands.
        draw: makes it; None where it has nothing to show.
        shows: what it shows, in words.
    """

    section: str
    draw: Callable[[Measured], Figure | None]
    shows: str
