"""Entity spans in sequences of tags in the schemes BIO, BIOES and BILOU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# B begin, I inside, E end, S single; in BILOU, L last and U unit.
_TAG = re.compile(r"([BIESLU])-(.+)", re.DOTALL)


def has_spans(tags: Iterable[str]) -> bool:
    """Return whether tags mark entity spans.

    Tags mark spans if each of them is O or consists of a prefix and an entity type (B-PER), and at least one is not O.

    Args:
        tags: All tags of a data set.

    Example:
        >>> has_spans(["O", "B-PER"]), has_spans(["NOUN", "O"])
        (True, False)
    """
    kinds = set(tags) - {"O"}
    return bool(kinds) and all(_TAG.fullmatch(tag) for tag in kinds)


def spans(tags: Sequence[str | None]) -> set[tuple[str, int, int]]:
    """Return the entity spans of a sequence of tags, by the rules of CoNLL's evaluation script (conlleval).

    An I- tag without a preceding tag of the same entity type begins a span. O, None and values that are not tags of the
    scheme end a span.

    Args:
        tags: Tags of consecutive words in BIO, BIOES or BILOU; None where there is no prediction.

    Returns:
        Tuples of the entity type, the position of the first word, and the position after the last word.

    Example:
        >>> spans(["B-PER", "I-PER", "O"])
        {('PER', 0, 2)}
    """
    result, kind, start, previous_prefix = set[tuple[str, int, int]](), "", 0, "O"
    for position, tag in enumerate([*tags, "O"]):
        match = _TAG.fullmatch(tag or "O")
        prefix, current_kind = match.groups() if match else ("O", "")
        if current_kind != kind or prefix in "BSU" or previous_prefix in "ESLU":
            if kind:
                result.add((kind, start, position))
            kind, start = current_kind, position
        previous_prefix = prefix
    return result
