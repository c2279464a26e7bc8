"""Names that people chose, in Markdown that others render: read as they are, and nothing more."""

from __future__ import annotations

__all__ = ["in_markdown"]

_MEANT: dict[str, str | int | None] = {"&": "&amp;", "<": "&lt;", "|": "\\|", "[": "\\[", "`": "'", "\r": " ", "\n": " "}


def in_markdown(text: object) -> str:
    """One line without HTML, links, code and columns of a table: `<script>` and `[x](javascript:…)` are only words."""
    return str(text).translate(str.maketrans(_MEANT))
