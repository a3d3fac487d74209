"""Names out of models, made harmless: any text may stand in them."""

from __future__ import annotations

import html
import re

_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""What XML does not allow, even escaped; and what turns the direction of the text around it."""


def plain(text: str) -> str:
    """The text with the replacement character in place of what no file may hold."""
    return _FORBIDDEN.sub("\ufffd", text)


def xml(text: str) -> str:
    """For SVG and HTML, between tags and within quotes."""
    return html.escape(plain(text), quote=True)


def dot(text: str) -> str:
    """A quoted string of DOT, quotes included. Graphviz reads entities and backslashes in labels: both are escaped."""
    escaped = plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return '"' + escaped.replace("\r", "").replace("\n", "\\n") + '"'
