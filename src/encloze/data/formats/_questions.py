"""What formats share that have no queries of their own: texts that ask become queries, and are split by their words."""

from __future__ import annotations

import hashlib

from encloze.data.formats.base import Format
from encloze.errors import DataError

SPLITS = ("dev", "test", "train")
_PARTS = 10  # of these eight are for training, one for dev and one for test
_OTHERS = {8: "dev", 9: "test"}


def id_of(kind: str, words: str) -> str:
    """The id of what has these words."""
    return f"{kind}:{hashlib.sha256(words.encode()).hexdigest()[:16]}"


def split_of(words: str) -> str:
    """The split of a query with these words: always the same."""
    return _OTHERS.get(int(hashlib.sha256(f"split {words}".encode()).hexdigest(), 16) % _PARTS, "train")


def check_split(format_: Format, split: str) -> None:
    """Raise DataError for a split that there is not."""
    if split not in SPLITS:
        raise DataError(f"{format_.name} have no split {split!r}. They have: {', '.join(SPLITS)}")
