"""What every page of ours is made of: escaped tables, and a document that holds all it needs and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["data_block", "document", "escape", "plotly_script", "raw_table", "table"]


def plotly_script() -> str:
    """plotly.js itself, about 4.5 MB."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def document(title: str, body: str, *, style: str, scripts: Sequence[str] = (), head: str = "", attributes: str = "") -> str:
    """A page whose scripts are these alone: the browser is told to run no other, and to fetch nothing at all.

    title is escaped here, body and head are HTML. Scripts run in the order given, at the end of the body.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)
    allowed = hashes or "'none'"
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    return (
        f'<!doctype html>\n<html lang="en"{attributes}><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>{head}</head>\n<body>\n{body}\n"
        + "\n".join(f"<script>{one}</script>" for one in scripts)
        + "\n</body></html>\n"
    )


def data_block(name: str, value: Any) -> str:
    """JSON that a script of the page reads by the name; nothing in it can end the element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, stack: bool = False) -> str:
    """A table of words, that scrolls sideways where the window is narrow; stack: a cell a line there, where the page's style
    has it so."""
    return raw_table(columns, [[escape(cell) for cell in row] for row in rows], stack=stack)


def raw_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, stack: bool = False) -> str:
    """As `table`, where the cells are HTML already."""
    names = [escape(column) for column in columns]
    head = "".join(f"<th>{name}</th>" for name in names)
    labels = [f' data-label="{name}"' if stack else "" for name in names]
    body = "".join(
        "<tr>" + "".join(f"<td{label}>{cell}</td>" for label, cell in zip(labels, row, strict=True)) + "</tr>" for row in rows
    )
    kind = "wide stack" if stack else "wide"
    return f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
