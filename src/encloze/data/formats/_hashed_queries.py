"""Ids and splits of queries, computed from a hash of their text, for formats whose files have neither."""

from __future__ import annotations

import hashlib

from encloze.data.formats.base import Format
from encloze.errors import DataError

SPLITS = ("dev", "test", "train")
_BUCKETS = 10  # eight for train, one for dev, one for test
_OTHER_SPLITS = {8: "dev", 9: "test"}


def hashed_id(kind: str, text: str) -> str:
    """Return an id of the form ``KIND:HASH``, where HASH is a hash of ``text``."""
    return f"{kind}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def hashed_split(text: str) -> str:
    """Return the split of a query by a hash of its text: train for 8 of 10 texts, dev for 1 and test for 1."""
    return _OTHER_SPLITS.get(int(hashlib.sha256(f"split {text}".encode()).hexdigest(), 16) % _BUCKETS, "train")


def check_split(format_: Format, split: str) -> None:
    """Raise DataError for a split other than train, dev and test."""
    if split not in SPLITS:
        raise DataError(f"{format_.name} has no split {split!r}. Its splits are {', '.join(SPLITS)}")
