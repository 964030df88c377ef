"""Look at encoders: each encodes the same documents, and what its representations are like is worked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.labelled import LabelledSet
from encloze.data.labels.base import Labels
from encloze.data.positives import Positives
from encloze.data.records import Representation
from encloze.evaluation.geometry import l2_normalize
from encloze.evaluation.labels import LabelReport, evaluate_predictions
from encloze.evaluation.panel import (
    HEAD,
    EncoderFigures,
    NearestDocument,
    PairEmbeddings,
    PanelMetric,
    dense_figures,
    token_figures,
    word_figures,
)
from encloze.evaluation.term_activations import TermActivations
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import HEADS
from encloze.models.frozen import FrozenEncoder
from encloze.models.heads.dense import Dense
from encloze.models.layers.pooling import Pooling
from encloze.models.layers.term_weights import activated, highest_logits
from encloze.models.precision import Precision, autocast
from encloze.storage.model_folders import locate
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import by_length
from encloze.training.linear_probe import labeled_rows, linear, nearest

_OF_HEAD = 256  # texts: logits of the whole vocabulary take far longer than hidden states
_BATCH_TOKENS = 16384
_FREQUENT = 12
_SHOWN, _MATCHES, _BEGINS = 5, 6, 60
_PENALTIES = (1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True)
class Look:
    """What encoders are shown, and how."""

    corpus: Corpus
    numbers: np.ndarray
    """int64: the documents that are encoded."""
    positives: Positives | None
    texts: Sequence[str]
    """Those whose nearest documents are sought."""
    neighbours: int
    pooling: Pooling | None
    precision: Precision

    def at(self, model: str, name: str) -> EncoderFigures:
        """The figures of one model, by the name that it is shown with."""
        progress.note(f"Looking at {name}")
        encoder = _load(model, self.pooling, self.precision)
        texts = list(self.corpus.texts(self.numbers))
        sample, asked, pairs = self._read(encoder, texts)
        encoded = encoder.tokenizer.encode(texts)
        figures, frequent = list[PanelMetric](), tuple[tuple[str, float], ...]()
        if dense := encoder.card.dense:
            together = self._together(*(side.dense for side in pairs)) if pairs else None
            normalised = bool(dense.normalize)
            figures += dense_figures(sample.dense, together, normalised=normalised, neighbours=self.neighbours)
        if sample.sparse is not None:
            use, asks = _use(sample.sparse), self.positives is not None and self.positives.asks
            queries = _use(pairs[0].sparse).active if pairs and asks else None
            figures += word_figures("sparse", use, _held(encoded, encoder), queries)
            frequent = _frequent(use, encoder)
        elif encoder.backbone.lacks() is None and not encoder.backbone.head_is_new:
            some = encoded[:: max(1, len(encoded) // _OF_HEAD)][:_OF_HEAD]
            figures += word_figures(HEAD, _use_of_head(encoder, some), _held(some, encoder), None)
        figures += _of_tokens(texts, encoded, encoder)
        return EncoderFigures(name, _how(encoder), tuple(figures), frequent, self._near(encoder, asked, sample))

    def _read(
        self, encoder: BiEncoder, texts: list[str]
    ) -> tuple[Representation, Representation, tuple[Representation, Representation] | None]:
        """The representations of the documents, of the texts that ask, and of the pairs; each text is read once."""
        found = self.positives or Positives("", [], [])
        asking = [*self.texts, *(found.firsts if found.asks else [])]
        told = [*texts, *found.seconds, *([] if found.asks else found.firsts)]
        queries, documents = _Texts(asking), _Texts(told)
        asked = encoder.encode_queries(list(queries.number_of))
        read = encoder.encode_documents(documents.number_of, len(documents.number_of))
        firsts = queries.of(found.firsts, asked) if found.asks else documents.of(found.firsts, read)
        pairs = (firsts, documents.of(found.seconds, read)) if self.positives else None
        return documents.of(texts, read), queries.of(self.texts, asked), pairs

    def _together(self, firsts: np.ndarray, seconds: np.ndarray) -> PairEmbeddings:
        assert self.positives is not None
        numbers = [_Texts(side).numbers(side) for side in (self.positives.firsts, self.positives.seconds)]
        same = [side[:, None] == side for side in numbers]
        return PairEmbeddings(self.positives.kind, firsts, seconds, ~(same[0] | same[1]))

    def _near(
        self, encoder: BiEncoder, asked: Representation, documents: Representation
    ) -> tuple[tuple[NearestDocument, ...], ...]:
        if not self.texts:
            return ()
        scores = np.asarray(encoder.similarity.score(asked, documents))
        cosines = None if asked.dense is None else l2_normalize(asked.dense) @ l2_normalize(documents.dense).T
        found = []
        for row in range(len(self.texts)):
            best = np.argsort(-scores[row], kind="stable")[:_SHOWN].tolist()
            cosine = {at: None if cosines is None else float(cosines[row, at]) for at in best}
            found.append(
                tuple(
                    NearestDocument(
                        *self._named(at),
                        float(scores[row, at]),
                        cosine[at],
                        _matches(encoder, asked, row, documents, at),
                    )
                    for at in best
                )
            )
        return tuple(found)

    def _named(self, at: int) -> tuple[str, str]:
        document = self.corpus[int(self.numbers[at])]
        words = " ".join((document.title or document.text).split())
        return document.id, words if len(words) <= _BEGINS else f"{words[:_BEGINS].rsplit(' ', 1)[0]} ..."


class _Texts:
    """Different texts by number, and what was made of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}

    def of(self, texts: Sequence[str], made: Representation) -> Representation:
        """The representations of some of them, in order."""
        at = self.numbers(texts)
        return Representation(*(None if view is None else view[at] for view in made))

    def numbers(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self.number_of[text] for text in texts], np.int64)


def label_report(labels: Labels, split: str, models: dict[str, str], look: Look, seed: int) -> LabelReport:
    """What each model, by its name in tables, says of labels: by the nearest texts, and by a linear probe."""
    data, reports = LabelledSet.open(labels, split), list[LabelReport]()
    for name, model in models.items():
        rows = labeled_rows(data, FrozenEncoder.load(model, look.pooling, precision=look.precision))
        ways = {"nearest": nearest(rows, look.neighbours), "linear probe": linear(rows, split, _PENALTIES, seed)}
        reports += [
            evaluate_predictions(data, split, f"{name}, {way}", found.guess(rows[split]), found.note, seed)
            for way, found in ways.items()
        ]
    guesses = [report.systems[-1] for report in reports]
    return replace(reports[0], systems=(*reports[0].systems[:-1], *guesses))


def _load(model: str, pooling: Pooling | None, precision: Precision) -> BiEncoder:
    """The bi-encoder of that name, its embeddings pooled in another way where that is asked for."""
    found = BiEncoder.load(model, precision=precision)
    if pooling is None or found.card.dense is None:
        return found
    heads = tuple(replace(head, pooling=pooling) if isinstance(head, Dense) else head for head in found.card.heads)
    made = BiEncoder(found.backbone, found.tokenizer, replace(found.card, heads=heads), locate(model) / HEADS)
    made.name, made.precision = found.name, precision
    return made.to(found.backbone.model.device).eval()


def _use_of_head(encoder: BiEncoder, texts: list[Encoded]) -> TermActivations:
    """Which words the head for masked language modelling would give texts, weighted as SPLADE does, as it is."""
    backbone, limit = encoder.backbone, encoder.card.max_document_tokens
    place, use = backbone.model.device, TermActivations.of_nothing(int(backbone.config.vocab_size))
    lengths = np.array([min(len(text.ids) + 2, limit) for text in texts])
    with progress.task("Asking the head", len(texts), "documents") as bar:
        for rows in by_length(lengths, _BATCH_TOKENS):
            batch = encoder.texts([texts[row] for row in rows], "document", place)
            with torch.inference_mode(), autocast(encoder.precision, place):
                hidden = backbone.encode(batch.ids, batch.attention)
                active = activated(highest_logits(hidden, batch.content_mask, backbone.head()), "log1p_relu") > 0
            use = use.with_texts(*(active.sum(dim=side).cpu().numpy() for side in (0, 1)))
            bar.advance(len(rows))
    return use


def _how(encoder: BiEncoder) -> str:
    said = [f"{encoder.backbone.config.model_type}, {encoder.backbone.width} wide"]
    if dense := encoder.card.dense:
        lengths = "length 1" if dense.normalize else "lengths as they come"
        said.append(f"embeddings: {dense.pooling}, {encoder.views['dense']} wide, {lengths}")
    said += [f"sparse view: {head.name}" for head in encoder.card.heads if head.view == "sparse"]
    return "; ".join([*said, f"documents cut at {encoder.card.max_document_tokens} tokens"])


def _use(weights: Any) -> TermActivations:
    """The counts of term weights: a csr_matrix, texts x vocabulary."""
    above = weights > 0
    return TermActivations(np.asarray(above.getnnz(axis=0), np.int64), np.asarray(above.getnnz(axis=1), np.int64))


def _frequent(use: TermActivations, encoder: BiEncoder) -> tuple[tuple[str, float], ...]:
    most = np.argsort(-use.texts, kind="stable")[:_FREQUENT]
    return tuple((_word(encoder, int(at)), float(use.texts[at] / len(use.active))) for at in most if use.texts[at])


def _held(encoded: Sequence[Encoded], encoder: BiEncoder) -> np.ndarray:
    """Which tokens the encoder reads in texts, special ones not counted: bool, vocabulary."""
    held = np.zeros(int(encoder.backbone.config.vocab_size), bool)
    limit = encoder.card.max_document_tokens - 2
    held[np.concatenate([text.ids[:limit] for text in encoded])] = True
    held[encoder.tokenizer.special_ids] = False
    return held


def _of_tokens(texts: Sequence[str], encoded: Sequence[Encoded], encoder: BiEncoder) -> list[PanelMetric]:
    ids, unknown = np.concatenate([text.ids for text in encoded]), encoder.tokenizer.special.get("unknown")
    strange = float(np.mean(ids == encoder.tokenizer.core.token_to_id(unknown))) if unknown else 0.0
    return token_figures(_held(encoded, encoder), strange, len(ids) / sum(len(text.split()) for text in texts))


def _matches(
    encoder: BiEncoder, asked: Representation, row: int, documents: Representation, at: int
) -> tuple[tuple[str, float], ...]:
    """The words that match, with what each adds to the score."""
    if asked.sparse is None:
        return ()
    products = (asked.sparse[row].multiply(documents.sparse[at]) * encoder.similarity.sparse).tocoo()
    best = np.argsort(-products.data, kind="stable")[:_MATCHES]
    return tuple((_word(encoder, int(products.col[n])), float(products.data[n])) for n in best)


def _word(encoder: BiEncoder, token: int) -> str:
    return encoder.tokenizer.core.id_to_token(token) or f"[{token}]"  # a row of the matrix that no token has
