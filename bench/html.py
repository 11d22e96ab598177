"""A suite's page as one HTML file that opens anywhere, without a network: tables, plots and all."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from bench.table import Table

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd } th { border-bottom: 2px solid #888 }
tbody tr:hover { background: #f4f6fa } img { max-width: 100%; height: auto }
code { background: #f2f2f2; padding: 0 .2rem }
"""


def page(title: str, parts: list[str | Table], images: list[Path]) -> str:
    """Return a whole HTML document.

    Args:
        title: of the document.
        parts: paragraphs (with `#`, `##`, ** and ` as in Markdown) and tables, in order.
        images: PNG files, which are put into the document behind the first heading's tables.
    """
    body = [_part(part) for part in parts]
    plots = [_image(path) for path in images]
    place = next((i for i, part in enumerate(parts) if isinstance(part, Table)), len(parts) - 1) + 1
    content = "\n".join([*body[:place], *plots, *body[place:]])
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return (
        f"<!doctype html>\n<html lang=en><head>{head}<style>{STYLE}</style></head>\n<body>\n{content}\n</body></html>\n"
    )


def _part(part: str | Table) -> str:
    if isinstance(part, Table):
        return f'<div class="wide">{part.html()}</div>'
    marks, text = re.fullmatch(r"(#*) ?(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
    tag = f"h{len(marks)}" if marks else "p"
    return f"<{tag}>{_inline(text)}</{tag}>"


def _inline(text: str) -> str:
    """Escape text; ** is bold, ` is code."""
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text, quote=False))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", escaped)


def _image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></p>'
