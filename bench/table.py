"""A table of text cells, in the formats that people paste it into."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from tabulate import tabulate


@dataclass(frozen=True)
class Table:
    """Rows under headers; the first `left` columns are names and aligned left, the others numbers."""

    rows: list[list[str]]
    headers: list[str]
    left: int

    def markdown(self) -> str:
        return self._render("github")

    def latex(self) -> str:
        """Return it for the booktabs package, special characters escaped."""
        return self._render("latex_booktabs") + "\n"

    def html(self) -> str:
        """Return a table element, its text escaped."""
        return self._render("html")

    def csv(self) -> str:
        """Return comma-separated values with a header line."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([self.headers, *self.rows])
        return stream.getvalue()

    def _render(self, form: str) -> str:
        align = ["left"] * self.left + ["right"] * (len(self.headers) - self.left)
        return tabulate(self.rows, self.headers, tablefmt=form, disable_numparse=True, colalign=align)
