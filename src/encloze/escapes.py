"""Escapes of characters in foreign text, such as titles, ids, file names and errors of servers, where it is shown."""

from __future__ import annotations

import re

_HIDDEN = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202d\\u202e\\ud800-\\udfff]")
"""Control characters except tabs and line breaks, line separators, overrides of the direction, and surrogates."""


def visible(text: str) -> str:
    r"""Return text for a terminal or a log: control characters become escapes such as ``\x1b``, except line breaks.

    A terminal executes control characters: they can clear the screen, or change the title or earlier lines.

    Example:
        >>> visible("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return _HIDDEN.sub(_escape, text)


def markdown(text: str) -> str:
    r"""Return foreign text as one line of Markdown, without HTML, links and control characters.

    Example:
        >>> markdown("<b>[x](y)")
        '&lt;b>[x]\\(y)'
    """
    line = visible(text.replace("\n", " "))
    return line.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
