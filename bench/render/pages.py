"""A page in Markdown, and as one HTML file that opens anywhere, without a network: tables, plots and all."""

from __future__ import annotations

import html
import re

from bench.render.image import Image
from bench.render.table import Table

Part = str | Table | Image  # a paragraph or heading, a table, a plot

# What is wider than the screen scrolls; a shadow at the right says that a table goes on. Long names wrap.
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem } h1, p { overflow-wrap: break-word }
.wide { margin: 1rem 0; overflow-x: auto; background: linear-gradient(#fff, #fff) right / 9px 100% no-repeat local,
  linear-gradient(to left, #888, #fff0) right / 9px 100% no-repeat scroll }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; font-size: .9em }
th, td { padding: .25rem .55rem; border-bottom: 1px solid #ddd } th { border-bottom: 2px solid #888; text-align: left }
td:first-child { white-space: normal; min-width: 8rem; max-width: 20rem }
tbody tr:hover { background: #f4f6fa } img { max-width: 100%; min-width: 40rem; height: auto }
code { background: #f2f2f2; padding: 0 .2rem }
"""


def markdown_page(parts: list[Part]) -> str:
    """Return a page in Markdown."""
    return "\n\n".join(part if isinstance(part, str) else part.markdown() for part in parts) + "\n"


def html_page(title: str, parts: list[Part]) -> str:
    """Return a whole HTML document.

    Args:
        title: of the document.
        parts: paragraphs (with `#`, `##`, ** and ` as in Markdown), tables and images, in order.
    """
    content = "\n".join(map(_part, parts))
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return (
        f"<!doctype html>\n<html lang=en><head>{head}<style>{STYLE}</style></head>\n<body>\n{content}\n</body></html>\n"
    )


def _part(part: Part) -> str:
    if not isinstance(part, str):
        return f'<div class="wide">{_marked(part.html())}</div>'
    marks, text = re.fullmatch(r"(#*) ?(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
    tag = f"h{len(marks)}" if marks else "p"
    return f"<{tag}>{_inline(text)}</{tag}>"


def _inline(text: str) -> str:
    """Escape text; ** is bold, * is italic, ` is code, [text](address) is a link."""
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(text, quote=False))
    escaped = re.sub(r"\*(\w.*?)\*", r"<i>\1</i>", escaped)
    return _marked(escaped)


def _marked(escaped: str) -> str:
    """Return escaped text with its code and links, which tables hold too."""
    with_code = re.sub(r"`(.+?)`", r"<code>\1</code>", escaped)
    return re.sub(r"\[([^][]+)\]\(([^()\s]+)\)", r'<a href="\2">\1</a>', with_code)
