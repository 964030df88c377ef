"""Tests of language detection, and of the analyzer that BM25 uses by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from encloze.data.corpus import Corpus
from encloze.data.language import detect_language
from encloze.retrieval.index_building import build_index
from encloze.retrieval.retriever import Retriever
from encloze.search.analyzers.base import Analyzer
from encloze.search.analyzers.hebrew import Hebrew
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.analyzers.unicode import Unicode
from encloze.search.indexes.bm25 import Bm25

ENGLISH = [
    "Rivers carry the rain of the mountains to the sea, and in dry summers some of them disappear.",
    "The engine was repaired twice before the mechanics noticed that the fuel pump had been leaking.",
]
GERMAN = [
    "Die Flüsse tragen den Regen der Berge ins Meer, und in trockenen Sommern verschwinden manche von ihnen.",
    "Der Motor wurde zweimal repariert, bevor die Mechaniker bemerkten, dass die Benzinpumpe undicht war.",
]
RUSSIAN = [
    "Реки несут дождевую воду с гор в море, а в сухое лето некоторые из них исчезают.",
    "Двигатель чинили дважды.",
]
HEBREW = ["הנהרות נושאים את מי הגשמים מן ההרים אל הים, ובקיץ יבש אחדים מהם נעלמים.", "המנוע תוקן פעמיים."]
JAPANESE = ["川は山の雨を海まで運び、乾いた夏には消えてしまう川もある。", "エンジンは二度修理された。"]


@pytest.mark.parametrize(
    ("texts", "code"),
    [(ENGLISH, "en"), (GERMAN, "de"), (RUSSIAN, "ru"), (HEBREW, "he"), (JAPANESE, "ja")],
    ids=["english", "german", "russian", "hebrew", "japanese"],
)
def test_the_language_of_most_texts_is_detected(texts: list[str], code: str) -> None:
    assert detect_language(texts) == (code, 1.0)
    assert detect_language([*texts, "", "123 456"]) == (code, 1.0)  # texts without letters do not count


def test_texts_without_letters_have_no_language() -> None:
    assert detect_language(["12", "?!", ""]) is None and detect_language([]) is None


@pytest.mark.parametrize(
    ("texts", "analyzer", "said"),
    [
        (ENGLISH, Stemmed("english"), "The documents are in English, so BM25 reduces words to their stems"),
        (GERMAN, Stemmed("german"), "The documents are in German"),
        (HEBREW, Hebrew(), "The documents are in Hebrew, so BM25 removes the prefixes of words"),
        (JAPANESE, Unicode(), "because there is no stemmer for the language of the documents (ja)"),
        (ENGLISH + RUSSIAN, Unicode(), "because the documents are in several languages (50% en)"),
        (["1", "2"], Unicode(), "because the documents have no letters"),
    ],
    ids=["english", "german", "hebrew", "no stemmer", "two languages", "no letters"],
)
def test_the_analyzer_follows_the_language_of_the_documents(
    texts: list[str], analyzer: Analyzer, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "encloze"):
        assert Bm25().with_defaults(lambda: texts) == Bm25(analyzer=analyzer)
    assert said in caplog.text


@pytest.mark.parametrize(("query", "found"), [("ובמנוע", "1"), ("מנוע", "1"), ("להרים", "0")])
def test_a_hebrew_word_is_found_with_another_prefix(query: str, found: str) -> None:
    corpus = Corpus.from_dicts([{"id": str(n), "text": text} for n, text in enumerate(HEBREW)])
    retriever = Retriever.build(corpus, indexes=["bm25"])
    assert [hit.id for hit in retriever.search(query)] == [found]


def test_a_given_analyzer_needs_no_detection() -> None:
    def fail() -> list[str]:
        raise AssertionError("the documents were read")

    assert Bm25(analyzer=Unicode()).with_defaults(fail) == Bm25(analyzer=Unicode())


def test_the_analyzer_is_chosen_from_documents_of_the_whole_collection(tmp_path: Path) -> None:
    """The first thousand documents are English, the others Russian, so none of the languages prevails."""
    rows = [{"id": f"e{n}", "text": ENGLISH[0]} for n in range(1000)]
    rows += [{"id": f"r{n}", "text": RUSSIAN[0]} for n in range(1000)]
    (view,) = build_index(Corpus.from_dicts(rows), [Bm25()], None, tmp_path)
    assert view["settings"]["analyzer"] == {"type": "unicode"}


def test_a_search_uses_the_stored_analyzer() -> None:
    corpus = Corpus.from_dicts([{"id": str(n), "text": text} for n, text in enumerate(GERMAN)])
    retriever = Retriever.build(corpus, indexes=["bm25"])
    assert [hit.id for hit in retriever.search("Flusses")] == ["0"]  # the genitive of Fluss
