"""Search results: lists of hits for one or several queries, shown as tables in notebooks or as pandas data frames."""

from __future__ import annotations

import html
from typing import Any, NamedTuple

from encloze.data.records import Hit
from encloze.errors import importable

_EXCERPT = 200  # characters
_COLUMNS = ["query", "rank", "id", "score", "title", "text", "fields"]


class Answer(NamedTuple):
    """Whether a collection probably answers a query."""

    probability: float
    """The probability, among queries like those that the threshold was fitted to."""
    is_likely: bool
    """Whether the probability reaches the threshold of the index."""


class Hits(list[Hit]):
    """The hits of one query, best first: a list of ``Hit``.

    Attributes:
        query: The text of the query.
        answer: Whether the collection probably answers the query; None if the index has no threshold for that, which
            the command ``threshold`` chooses.
    """

    def __init__(self, query: str, hits: list[Hit], answer: Answer | None = None) -> None:
        super().__init__(hits)
        self.query, self.answer = query, answer

    def records(self) -> list[dict[str, Any]]:
        """Return one dictionary a hit: query, rank, id, score, title, text, fields, and the score of each index."""
        return [
            {
                "query": self.query,
                "rank": rank,
                "id": hit.id,
                "score": hit.score,
                "title": hit.title,
                "text": hit.text,
                "fields": dict(hit.fields),
                **hit.parts,
            }
            for rank, hit in enumerate(self, 1)
        ]

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with one row per hit. Raises MissingExtraError if pandas is not installed."""
        return _data_frame(self.records())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{rank}</td><td>{hit.score:.4f}</td><td>{html.escape(hit.id)}</td>"
            f"<td><b>{html.escape(hit.title)}</b> {html.escape(_excerpt(hit.text))}</td></tr>"
            for rank, hit in enumerate(self, 1)
        )
        head = "<tr><th>rank</th><th>score</th><th>id</th><th>document</th></tr>"
        above = f"<p>{html.escape(self.query)}</p>{_unanswered(self)}"
        return f"{above}<table><thead>{head}</thead><tbody>{rows}</tbody></table>"


class BatchHits(list[Hits]):
    """The hits of several queries: a list of ``Hits``, in the order of the queries."""

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with one row per hit. Raises MissingExtraError if pandas is not installed."""
        return _data_frame([record for hits in self for record in hits.records()])

    def _repr_html_(self) -> str:
        return "".join(hits._repr_html_() for hits in self)


def _unanswered(hits: Hits) -> str:
    return "<p>The collection probably does not answer this query.</p>" if hits.answer and not hits.answer[1] else ""


def _data_frame(records: list[dict[str, Any]]) -> Any:
    return importable("pandas", "pandas").DataFrame(records, columns=None if records else _COLUMNS)


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT].rsplit(' ', 1)[0]} ..."
