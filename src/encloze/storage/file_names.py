"""File names made from arbitrary text, such as the titles of systems."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from encloze.storage.hashes import hash_of

_MAX_BYTES = 120
"""File systems allow 255 bytes; callers add prefixes and extensions."""


def file_name(text: str) -> str:
    """Return a file name for ``text`` that every file system accepts.

    Characters other than letters, digits, ``-``, ``_`` and ``.`` become ``-``. A long name is cut and ends with a hash
    of the text.

    Args:
        text: Any text, such as the title of a system.

    Returns:
        A name of 1 to about 130 bytes.

    Example:
        >>> file_name("bm25 (k1 0.9)")
        'bm25--k1-0.9'
    """
    name = "".join(char if char.isalnum() or char in "-_." else "-" for char in text).strip("-.") or "system"
    encoded = name.encode()
    if len(encoded) <= _MAX_BYTES:
        return name
    return f"{encoded[:_MAX_BYTES].decode(errors='ignore')}-{hash_of(text)[:8]}"


def file_names(texts: Sequence[str]) -> list[str]:
    """Return a unique file name for each text. If texts have the same name, a number is appended to all but the first.

    Example:
        >>> file_names(["a/b", "a b"])
        ['a-b', 'a-b-2']
    """
    names: list[str] = []
    for text in texts:
        base = name = file_name(text)
        for number in itertools.count(2):
            if name not in names:
                break
            name = f"{base}-{number}"
        names.append(name)
    return names
