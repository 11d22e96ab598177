"""The pages that people read, and what a pattern finds in them."""

from __future__ import annotations

import re
from typing import Any

from tests.support.repository import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "results/README.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
README = PAGES["README.md"]
EVERYTHING = "\n".join(PAGES.values())


def per_page(pattern: str, flags: re.RegexFlag = re.MULTILINE) -> list[tuple[Any, ...]]:
    """Return what a pattern finds in each page, with the page's name before it."""
    found = [(name, match) for name, text in PAGES.items() for match in re.findall(pattern, text, flags)]
    return [(name, *match) if isinstance(match, tuple) else (name, match) for name, match in found]


def tables(text: str) -> list[str]:
    """Return the Markdown tables in a text."""
    return re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
