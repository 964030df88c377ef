"""Choice of an analyzer by the language of the documents."""

from __future__ import annotations

from collections.abc import Sequence

from encloze import progress
from encloze.data.language import detect_language
from encloze.search.analyzers.base import Analyzer
from encloze.search.analyzers.hebrew import Hebrew
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.analyzers.unicode import Unicode

_MIN_SHARE = 0.8  # of the texts in one language; collections with several languages are not stemmed

# Snowball stemmers by ISO 639-1 code. Those of Yiddish and Esperanto are left out, as are variants such as porter.
_STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}


def analyzer_for(texts: Sequence[str]) -> Analyzer:
    """Return the analyzer for the language of at least 80 % of the texts, else ``Unicode``.

    It is ``Stemmed`` for a language with a Snowball stemmer, and ``Hebrew`` for Hebrew.

    A progress note says which analyzer is used, and why.

    Args:
        texts: A sample of the documents.
    """
    import Stemmer

    language = detect_language(texts)
    stemmer = _STEMMERS.get(language.code, "") if language else ""
    if language and language.share >= _MIN_SHARE and stemmer in Stemmer.algorithms():
        progress.note(f"The documents are in {stemmer.title()}, so BM25 reduces words to their stems")
        return Stemmed(stemmer)
    if language and language.share >= _MIN_SHARE and language.code == "he":
        progress.note("The documents are in Hebrew, so BM25 removes the prefixes of words")
        return Hebrew()
    if language is None:
        cause = "the documents have no letters"
    elif language.share < _MIN_SHARE:
        cause = f"the documents are in several languages ({language.share:.0%} {language.code})"
    else:
        cause = f"there is no stemmer for the language of the documents ({language.code})"
    progress.note(f"BM25 does not reduce words to their stems, because {cause}")
    return Unicode()
