"""Panel of encoders: a comparison of the embeddings and term weights that they compute for the same documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NotRequired, TypedDict

from encloze.escapes import markdown
from encloze.evaluation.labels import LabelReport
from encloze.evaluation.panel_metrics import MLM_HEAD, PanelMetric
from encloze.tables import Column, Kind, Table, quote

_GROUPS = ("dense", "sparse", MLM_HEAD, "tokenizer")


class NearestDocument(NamedTuple):
    """Document that an encoder ranks near the top for a query."""

    id: str
    excerpt: str
    """Title of the document, or the beginning of its text."""
    score: float
    """Similarity of the query and the document according to the encoder."""
    cosine: float | None
    """Cosine of the embeddings of query and document; None for an encoder without dense embeddings."""
    terms: tuple[tuple[str, float], ...]
    """Terms that are active in the sparse vectors of both query and document, with their contributions to the score,
    the largest first."""

    def summary(self) -> str:
        """Return excerpt, score, cosine, id and shared terms of the document on one line.

        The cosine is left out if it equals the score.
        """
        has_cosine = self.cosine is not None and abs(self.cosine - self.score) > 5e-4
        cosine = f", cosine {self.cosine:.3f}" if has_cosine else ""
        terms = "; " + ", ".join(f"{term} {score:.2f}" for term, score in self.terms) if self.terms else ""
        return f"{self.excerpt}  {self.score:.3f}{cosine}  {self.id}{terms}"


@dataclass(frozen=True)
class EncoderMetrics:
    """Metrics of one encoder.

    Args:
        name: Name of the encoder in tables.
        description: Model type, pooling, dimensions and length limits of the encoder.
        metrics: Statistics of the embeddings, term weights and tokenizer, each with its range and meaning.
        frequent_terms: Terms that are active in the most documents, each with the share of documents in which it is
            active.
        nearest: For each query of the panel, the documents that the encoder ranks highest, best first.
    """

    name: str
    description: str
    metrics: tuple[PanelMetric, ...]
    frequent_terms: tuple[tuple[str, float], ...] = ()
    nearest: tuple[tuple[NearestDocument, ...], ...] = ()


class _SavedNearest(TypedDict):
    id: str
    excerpt: str
    score: float
    cosine: float | None
    terms: dict[str, float]


class _SavedMetric(TypedDict):
    group: str
    name: str
    value: float | None
    range: str
    interpretation: str
    is_count: NotRequired[bool]
    low: NotRequired[float | None]
    high: NotRequired[float | None]


class _SavedEncoder(TypedDict):
    name: str
    description: str
    metrics: list[_SavedMetric]
    frequent_terms: dict[str, float]
    nearest: dict[str, list[_SavedNearest]]


class SavedPanel(TypedDict):
    """Content of a panel in JSON files."""

    num_documents: int
    num_available: int
    pairs: str | None
    encoders: list[_SavedEncoder]


@dataclass(frozen=True)
class Panel:
    """Metrics of several encoders on the same documents.

    Args:
        num_documents: Number of encoded documents.
        num_available: Number of documents in the corpus, from which the encoded documents were sampled.
        pairs: Number and kind of the pairs of related texts (positive pairs), as text; None if the corpus has none.
        encoders: Metrics of each encoder.
        queries: Example queries. The field ``nearest`` of an encoder's metrics has the documents nearest to each.
        labels: Results of predicting labels from the embeddings, if labels were given.
    """

    num_documents: int
    num_available: int
    pairs: str | None
    encoders: tuple[EncoderMetrics, ...]
    queries: tuple[str, ...] = ()
    labels: LabelReport | None = None

    @property
    def title(self) -> str:
        """Title of the panel, with the numbers of documents and of positive pairs."""
        is_sample = self.num_documents != self.num_available
        sampled = f", sampled from {self.num_available:,}" * is_sample
        return f"Encoders on {self.num_documents:,} documents{sampled}; {self.pairs or 'no positive pairs'}"

    def table(self) -> Table:
        """Return a table with one row per metric and one column per encoder.

        A value that is a median over texts is followed by the 5 % and 95 % quantiles.
        """
        metrics = [{(metric.group, metric.name): metric for metric in encoder.metrics} for encoder in self.encoders]
        known = {key: metric for of_encoder in reversed(metrics) for key, metric in of_encoder.items()}
        names = (Column(encoder.name, Kind.STATISTIC) for encoder in self.encoders)
        columns = (Column("group", is_grouping=True), Column("metric"), *names, Column("range"), Column("meaning"))
        rows = []
        for key in sorted(known, key=lambda key: _GROUPS.index(key[0])):
            cells = [of_encoder[key].cell() if key in of_encoder else None for of_encoder in metrics]
            rows.append((*key, *cells, known[key].range, known[key].interpretation))
        return Table(self.title, columns, tuple(rows))

    def tables(self) -> list[Table]:
        """Return a list that contains only the table of metrics, not the tables of predicted labels."""
        return [self.table()]

    def notes(self, *, with_terms: bool = True) -> list[str]:
        """Return the description of each encoder, followed by the terms that are active in the most documents.

        Args:
            with_terms: Whether to include the terms. They are words of the documents, which may be confidential.
        """
        notes = [f"{encoder.name}: {encoder.description}" for encoder in self.encoders]
        for encoder in self.encoders:
            if encoder.frequent_terms and with_terms:
                terms = ", ".join(f"{term} {share:.0%}" for term, share in encoder.frequent_terms)
                notes.append(f"{encoder.name}, terms active in most documents: {terms}")
        return notes

    def to_markdown(self) -> str:
        """Return the panel as Markdown: metrics, prediction of labels, and the nearest documents of each query."""
        lines = ["## Encoders", "", f"{markdown(self.title)}.", "", self.table().to_markdown(), ""]
        lines += [f"- {markdown(note)}" for note in self.notes()]
        if self.labels:
            lines += ["", "## Labels", "", f"{markdown(self.labels.title)}.", "", self.labels.table().to_markdown(), ""]
            lines += [f"- {markdown(note)}" for note in self.labels.notes]
        for number, query in enumerate(self.queries):
            lines += ["", f"## Nearest documents to {quote(markdown(query))}"]
            for encoder in self.encoders:
                lines += ["", f"{markdown(encoder.name)}:", ""]
                lines += [f"{rank}. {markdown(one.summary())}" for rank, one in enumerate(encoder.nearest[number], 1)]
        return "\n".join(lines)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Panel:
        """Create a panel from the value that ``to_dict`` returned. It has no results of predicting labels.

        Args:
            content: Value that ``to_dict`` returned.
        """
        encoders = tuple(
            EncoderMetrics(
                entry["name"],
                entry["description"],
                tuple(PanelMetric(**metric) for metric in entry["metrics"]),
                tuple(entry["frequent_terms"].items()),
                tuple(
                    tuple(NearestDocument(**{**one, "terms": tuple(one["terms"].items())}) for one in documents)
                    for documents in entry["nearest"].values()
                ),
            )
            for entry in content["encoders"]
        )
        queries = tuple(content["encoders"][0]["nearest"]) if content["encoders"] else ()
        return cls(content["num_documents"], content["num_available"], content["pairs"], encoders, queries)

    def to_dict(self) -> dict[str, object]:
        """Return the content of the panel as JSON values, except for the results of predicting labels (``labels``)."""
        encoders = [
            {
                "name": encoder.name,
                "description": encoder.description,
                "metrics": [metric._asdict() for metric in encoder.metrics],
                "frequent_terms": dict(encoder.frequent_terms),
                "nearest": {
                    query: [{**one._asdict(), "terms": dict(one.terms)} for one in documents]
                    for query, documents in zip(self.queries, encoder.nearest, strict=True)
                },
            }
            for encoder in self.encoders
        ]
        return {
            "num_documents": self.num_documents,
            "num_available": self.num_available,
            "pairs": self.pairs,
            "encoders": encoders,
        }
