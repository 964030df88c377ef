"""Detection of the language of texts with py3langid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_MAX_CHARACTERS = 1000  # of each text; more does not change the result


class Language(NamedTuple):
    """The most frequent language of some texts."""

    code: str
    """ISO 639-1 code, such as ``en``."""
    share: float
    """Fraction of the texts in this language, from 0 to 1; texts without letters are not counted."""


def detect_language(texts: Sequence[str]) -> Language | None:
    """Return the most frequent language of the texts; None if no text contains letters.

    Example:
        >>> detect_language(["Rivers flow into the sea.", "The engine needs fuel."]).code
        'en'
    """
    from py3langid import classify  # loads its model in half a second

    with_letters = [text for text in (text[:_MAX_CHARACTERS] for text in texts) if any(map(str.isalpha, text))]
    counts = Counter(str(classify(text)[0]) for text in with_letters)
    if not counts:
        return None
    code, count = counts.most_common(1)[0]
    return Language(code, count / len(with_letters))
