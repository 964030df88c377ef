"""A panel of encoders: how their representations of the same texts lie, figure by figure and side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from encloze.evaluation import geometry
from encloze.evaluation.labels import LabelReport
from encloze.evaluation.report import markdown_table, quoted
from encloze.evaluation.term_activations import TermActivations

HEAD = "head for masked words"
_GROUPS = ("dense", "sparse", HEAD, "tokens")
_READINGS = {
    "cosine": "of two texts: near 0 they point everywhere, near 1 all one way",
    "empty": "share of texts whose embedding is all zeros: no search tells them apart; the rest is of the others",
    "left": "root mean square, without what all texts share: the lower, the better they are told apart",
    "rank": "directions really used: higher is better; below 2 all texts lie on a line",
    "first": "its share of the variance: near 1 it says nearly all there is",
    "uniformity": "0: all texts are one point, -4: evenly spread; lower is better",
    "alignment": "how far {} lie apart: 0 on one point, 2 like strangers; read it beside uniformity",
    "own": "how often the first of a pair is nearer to its own second than to another's: 0.5 is chance",
    "lengths": "beside their mean: high, and long vectors win inner products",
    "hubs": "skew of how often a text is among the {} nearest of others: above 1.5 a few are near to very many",
    "never": "share of texts that are not among the {} nearest of any other",
}


class PairEmbeddings(NamedTuple):
    """Embeddings of texts that belong together: pairs x width each."""

    kind: str
    firsts: np.ndarray
    seconds: np.ndarray
    strangers: np.ndarray
    """bool, pairs x pairs: which seconds do not belong to a first."""


class PanelMetric(NamedTuple):
    """A number of an encoder, and how to read it."""

    group: str
    name: str
    value: float
    shown: str
    """The value as it is printed."""
    range: str
    reading: str


class NearestDocument(NamedTuple):
    """A document that an encoder takes to be near to a text."""

    id: str
    begins: str
    """Its title, or the beginning of its text."""
    score: float
    """As the model scores."""
    cosine: float | None
    """Of the embeddings; None where it makes none."""
    words: tuple[tuple[str, float], ...]
    """The words that match in the sparse view, with what each adds to the score; the most important ones."""


@dataclass(frozen=True)
class EncoderFigures:
    """One encoder."""

    name: str
    how: str
    """How it makes its representations."""
    figures: tuple[PanelMetric, ...]
    frequent: tuple[tuple[str, float], ...] = ()
    """The words that most documents give a weight to, with the share of documents."""
    near: tuple[tuple[NearestDocument, ...], ...] = ()
    """For each text that was asked for, the documents nearest to it."""


@dataclass(frozen=True)
class Panel:
    """Encoders on the same documents."""

    documents: int
    of: int
    """How many documents there are to draw from."""
    pairs: str | None
    """Which pairs of texts belong together, for alignment; None where there are none."""
    encoders: tuple[EncoderFigures, ...]
    texts: tuple[str, ...] = ()
    labels: LabelReport | None = None

    def title(self) -> str:
        drawn = "" if self.documents == self.of else f", drawn from {self.of:,}"
        return f"Encoders on {self.documents:,} documents{drawn}; {self.pairs or 'no pairs of texts'}"

    def rows(self) -> list[list[str]]:
        """The table as text: a header, the name of each group, and a row for each figure."""
        by_encoder = [{(each.group, each.name): each for each in encoder.figures} for encoder in self.encoders]
        known = {key: figure for figures in reversed(by_encoder) for key, figure in figures.items()}
        order = sorted(known, key=lambda key: _GROUPS.index(key[0]))
        table, group = [["figure", *(encoder.name for encoder in self.encoders), "range", "how to read it"]], ""
        for key in order:
            if key[0] != group:
                group = key[0]
                table.append([group, *([""] * (len(self.encoders) + 2))])
            cells = [figures[key].shown if key in figures else "-" for figures in by_encoder]
            table.append([f"  {key[1]}", *cells, known[key].range, known[key].reading])
        return table

    def notes(self, *, with_words: bool = True) -> list[str]:
        """What each encoder does, and which words it gives most documents."""
        said = [f"{encoder.name}: {encoder.how}" for encoder in self.encoders]
        for encoder in self.encoders:
            if encoder.frequent and with_words:
                words = ", ".join(f"{word} {share:.0%}" for word, share in encoder.frequent)
                said.append(f"{encoder.name}, words that most documents have a weight for: {words}")
        return said

    def markdown(self) -> list[str]:
        lines = ["## Encoders", "", f"{self.title()}.", "", *markdown_table(self.rows()), ""]
        lines += [f"- {note}" for note in self.notes()]
        if self.labels:
            rows = markdown_table(self.labels.rows())
            lines += ["", "## Labels", "", f"{self.labels.title()}.", "", *rows, ""]
            lines += [f"- {note}" for note in self.labels.notes]
        for number, text in enumerate(self.texts):
            lines += ["", f"## Near to {quoted(text)}"]
            for encoder in self.encoders:
                lines += ["", f"{encoder.name}:", ""]
                lines += [f"{rank}. {line_of(near)}" for rank, near in enumerate(encoder.near[number], 1)]
        return lines

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Panel:
        """The panel that ``values`` made plain, without what it says of labels."""
        encoders = tuple(
            EncoderFigures(
                one["name"],
                one["how"],
                tuple(PanelMetric(**figure) for figure in one["figures"]),
                tuple(one["frequent"].items()),
                tuple(
                    tuple(NearestDocument(**{**near, "words": tuple(near["words"].items())}) for near in found)
                    for found in one["near"].values()
                ),
            )
            for one in values["encoders"]
        )
        texts = tuple(values["encoders"][0]["near"]) if values["encoders"] else ()
        return cls(values["documents"], values["of"], values["pairs"], encoders, texts)

    def values(self) -> dict[str, object]:
        """The panel as plain values."""
        encoders = [
            {
                "name": encoder.name,
                "how": encoder.how,
                "figures": [figure._asdict() for figure in encoder.figures],
                "frequent": dict(encoder.frequent),
                "near": {
                    text: [{**near._asdict(), "words": dict(near.words)} for near in found]
                    for text, found in zip(self.texts, encoder.near, strict=True)
                },
            }
            for encoder in self.encoders
        ]
        return {"documents": self.documents, "of": self.of, "pairs": self.pairs, "encoders": encoders}


def line_of(near: NearestDocument) -> str:
    """A near document on one line."""
    # With one view at length 1 the score is the cosine.
    has_own = near.cosine is not None and abs(near.cosine - near.score) > 5e-4
    cosine = f", cosine {near.cosine:.3f}" if has_own else ""
    words = "; " + ", ".join(f"{word} {adds:.2f}" for word, adds in near.words) if near.words else ""
    return f"{near.begins}  {near.score:.3f}{cosine}  {near.id}{words}"


def dense_figures(
    rows: np.ndarray, pairs: PairEmbeddings | None, *, normalised: bool, neighbours: int
) -> list[PanelMetric]:
    """What is to be known of documents' embeddings (texts x width), two at least."""
    figures, directed = list[PanelMetric](), rows[rows.any(axis=1)]
    if len(directed) < len(rows):
        share = 1 - len(directed) / len(rows)
        figures.append(_dense("without direction", share, "0 to 1", _READINGS["empty"]))
    if len(directed) < 2:
        return figures
    rows = directed
    texts, width = rows.shape
    figures += [
        _dense("mean cosine", geometry.mean_cosine(rows), "-1 to 1", _READINGS["cosine"]),
        _dense("the same, mean taken off", geometry.centered_cosine(rows), "0 to 1", _READINGS["left"]),
        _dense("effective rank", geometry.effective_rank(rows), f"1 to {min(texts - 1, width)}", _READINGS["rank"]),
        _dense("first direction", geometry.pc1_variance_share(rows), "0 to 1", _READINGS["first"]),
        _dense("uniformity", geometry.uniformity(rows), "-4 to 0", _READINGS["uniformity"]),
    ]
    if pairs is not None:
        near = geometry.alignment(pairs.firsts, pairs.seconds)
        figures.append(_dense("alignment", near, "0 to 4", _READINGS["alignment"].format(pairs.kind)))
        if pairs.strangers.any():
            figures.append(_dense("own nearer", geometry.pair_auc(*pairs[1:]), "0 to 1", _READINGS["own"]))
    if not normalised:
        figures.append(_dense("spread of lengths", geometry.norm_variation(rows), "from 0", _READINGS["lengths"]))
    if texts > neighbours:
        hubs = geometry.hubs(rows, neighbours)
        figures.append(_dense("hubness", hubs.skew, "from about 0", _READINGS["hubs"].format(neighbours)))
        figures.append(_dense("never near", hubs.never, "0 to 1", _READINGS["never"].format(neighbours)))
    return figures


def word_figures(
    group: str, use: TermActivations, held: np.ndarray, of_queries: np.ndarray | None
) -> list[PanelMetric]:
    """What is to be known of documents' term weights.

    ``held`` (bool, vocabulary) are the words that the documents hold; ``of_queries`` how many words each query has a
    weight for.
    """
    vocabulary, texts = len(use.texts), f"{len(use.active):,} texts"
    figures = []
    for name, active in (("words a document", use.active), ("words a query", of_queries)):
        if active is not None and len(active):
            low, middle, high = np.quantile(active, [0.05, 0.5, 0.95])
            shown, range_ = f"{middle:,.0f} ({low:,.0f} to {high:,.0f})", f"0 to {vocabulary}"
            reading = "with a weight: the median, 5 % and 95 %; each costs room and time"
            figures.append(PanelMetric(group, name, float(middle), shown, range_, reading))
    return [
        *figures,
        _share(
            group, "dead vocabulary", use.dead, f"words without a weight in any of {texts}: no fault in a small corpus"
        ),
        _share(
            group,
            "held, yet dead",
            use.unheard(held),
            "of the words that the texts hold: a search by words would lose them",
        ),
        PanelMetric(
            group,
            "always on",
            use.always,
            f"{use.always:,}",
            f"0 to {vocabulary}",
            "words with a weight in 95 % of the texts: they cost time and tell nothing apart",
        ),
    ]


def token_figures(held: np.ndarray, unknown: float, tokens_a_word: float) -> list[PanelMetric]:
    """How a tokenizer fits the documents; ``held`` as above, ``unknown`` a share of their tokens."""
    return [
        _share("tokens", "vocabulary held", float(held.mean()), "how much of the vocabulary these texts need"),
        _share("tokens", "unknown", unknown, "of the tokens: more than a few in a thousand, and words are lost"),
        PanelMetric(
            "tokens",
            "tokens a word",
            tokens_a_word,
            f"{tokens_a_word:.2f}",
            "about 1 up",
            "above 2 words fall to pieces: new_words of pretrain may help",
        ),
    ]


def _dense(name: str, value: float, range_: str, reading: str) -> PanelMetric:
    return PanelMetric("dense", name, value, f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}", range_, reading)


def _share(group: str, name: str, value: float, reading: str) -> PanelMetric:
    return PanelMetric(group, name, value, f"{value:.3f}", "0 to 1", reading)
