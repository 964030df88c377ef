"""Entities in a row of tags: which words belong together, and to what kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)  # begin, inside, end, single; last and unit in the words of BILOU


def has_spans(tags: Iterable[str]) -> bool:
    """Whether tags tell where entities begin and end: all are O or like B-PER, and some are like that."""
    kinds = set(tags) - {"O"}
    return bool(kinds) and all(_TAG.fullmatch(tag) for tag in kinds)


def spans(tags: Sequence[str | None]) -> set[tuple[str, int, int]]:
    """The entities in tags in BIO, BIOES or BILOU: (kind, first word, word after the last).

    As CoNLL's own script (conlleval) reads them: an I- that goes on with nothing of its kind begins an entity, and what
    is not a tag ends one.
    """
    found, kind, begin, before = set[tuple[str, int, int]](), "", 0, "O"
    for place, tag in enumerate([*tags, "O"]):
        match = _TAG.fullmatch(tag or "O")
        prefix, now = match.groups() if match else ("O", "")
        if now != kind or prefix in "BSU" or before in "ESLU":
            if kind:
                found.add((kind, begin, place))
            kind, begin = now, place
        before = prefix
    return found
