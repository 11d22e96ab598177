"""A plot on a page."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Image:
    """A PNG file, and what it shows in words."""

    path: Path
    shows: str

    def markdown(self) -> str:
        """Return a link to the file, which is in the page's folder."""
        return f"![{self.shows}]({self.path.name})"

    def html(self) -> str:
        """Return an element that holds the file itself."""
        data = base64.b64encode(self.path.read_bytes()).decode()
        return f'<img alt="{html.escape(self.shows)}" src="data:image/png;base64,{data}">'
