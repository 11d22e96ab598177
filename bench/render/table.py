"""A table of text cells, in the formats that people paste it into."""

from __future__ import annotations

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

    def _render(self, form: str) -> str:
        align = ["left"] * self.left + ["right"] * (len(self.headers) - self.left)
        return tabulate(self.rows, self.headers, tablefmt=form, disable_numparse=True, colalign=align)
