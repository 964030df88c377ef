"""Query examples: queries that one system answers better than another, with the top documents of both systems."""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from encloze.data.letters import token_pattern
from encloze.data.records import Query
from encloze.data.runs import top_documents
from encloze.evaluation.query_perturbations.stop_words import StopWords
from encloze.evaluation.report import Report
from encloze.evaluation.results import SystemResult
from encloze.reporting.blocks import Excerpt, QueryExample
from encloze.reporting.dataset_texts import DatasetTexts
from encloze.search.analyzers.unicode import Unicode

_DOCUMENTS = 3
"""Documents shown for each query and system."""
_EXCERPT_CHARACTERS = 240


def query_examples(report: Report, texts: DatasetTexts, count: int, dataset: str = "") -> Iterator[QueryExample]:
    """Yield the queries with the largest gains and losses of the best system compared with the first system.

    Args:
        report: Report on two or more systems. The best system other than the first is compared with the first one.
        texts: Texts of the data set.
        count: Maximum number of queries with a gain, and maximum number of queries with a loss.
        dataset: Name of the data set, shown in each example; empty if the report covers only one data set.
    """
    if len(report.systems) < 2 or count < 1 or not texts.queries:
        return
    measure = report.measures[0]
    baseline = report.systems[0]
    best = max(report.systems[1:], key=lambda system: float(system.values[measure].mean()))
    gain = best.values[measure] - baseline.values[measure]
    order = gain.argsort(kind="stable")
    wins = [int(number) for number in order[::-1][:count] if gain[number] > 0]
    losses = [int(number) for number in order[:count] if gain[number] < 0]
    for number in (*wins, *losses):
        query = report.queries[number]
        verdict = (
            f"{best.name} is {'better' if gain[number] > 0 else 'worse'} than {baseline.name}"
            f"{f' on {dataset}' if dataset else ''}: {measure} {best.values[measure][number]:.3f} and "
            f"{baseline.values[measure][number]:.3f}"
        )
        results = [(system.name, _excerpts(system, query, texts)) for system in (baseline, best)]
        yield QueryExample(query, texts.queries.get(query, ""), verdict, results)


def _excerpts(system: SystemResult, query: str, texts: DatasetTexts) -> list[Excerpt]:
    words, grades = content_words(texts.queries.get(query, "")), texts.judgments.get(query, {})
    excerpts = []
    for rank, id_ in enumerate(top_documents(system.run.get(query, {}), _DOCUMENTS), 1):
        document = texts.document(id_)
        title, text = (document.title, document.text) if document else ("", "")
        is_relevant = grades[id_] > 0 if id_ in grades else None
        excerpts.append(Excerpt(rank, id_, " ".join(title.split()), highlight(text, words), is_relevant))
    return excerpts


def content_words(query: str) -> set[str]:
    """Return the words of a query in lower case, without stop words.

    Example:
        >>> sorted(content_words("Where are the rivers of the north"))
        ['north', 'rivers']
    """
    return set(Unicode().words(StopWords().perturb_query(Query("", query), seed=0)))


def highlight(text: str, words: set[str], characters: int = _EXCERPT_CHARACTERS) -> list[tuple[str, bool]]:
    """Return the excerpt of a text with the largest number of different query words, split into pieces at these words.

    Args:
        text: Text of a document.
        words: Words of the query in lower case.
        characters: Maximum length of the excerpt in characters; a single word is never cut.

    Returns:
        Consecutive pieces of the excerpt, as pairs (piece, whether the piece is a query word).

    Example:
        >>> highlight("The River runs.", {"river"})
        [('The ', False), ('River', True), (' runs.', False)]
    """
    tokens = token_pattern().findall(" ".join(text.split()))
    matches = {token for token in set(tokens) if not words.isdisjoint(_parts(token))}
    start, end = _best_window(tokens, [place for place, token in enumerate(tokens) if token in matches], characters)
    grouped = itertools.groupby(tokens[start:end], matches.__contains__)
    pieces = [("".join(group), is_match) for is_match, group in grouped]
    before, after = [("... ", False)] * (start > 0), [(" ...", False)] * (end < len(tokens))
    return [*before, *pieces, *after] if pieces else []


@functools.lru_cache(maxsize=2**16)  # the same words occur in many texts
def _parts(token: str) -> frozenset[str]:
    """Return a token in lower case, and the words that it consists of."""
    return frozenset((token.lower(), *Unicode().words(token)))


def _best_window(tokens: list[str], places: list[int], characters: int) -> tuple[int, int]:
    """Return the start and end of the window of consecutive tokens with the largest number of different query words.

    ``places`` are the positions of the query words. A window has at most ``characters`` characters, unless it consists
    of a single longer token. Of several such windows, the first one is returned.
    """
    ends = list(itertools.accumulate(map(len, tokens), initial=0))  # the token i is between ends[i] and ends[i + 1]
    lower = [tokens[place].lower() for place in places]
    most, best = 0, 0
    for last, place in enumerate(places):  # the earliest window that ends with this query word
        start = min(place, bisect_left(ends, ends[place + 1] - characters))
        start += tokens[start].isspace()
        count = len(set(lower[bisect_left(places, start) : last + 1]))
        if count > most:
            most, best = count, start
    return best, max(best + 1, bisect_right(ends, ends[best] + characters) - 1)
