"""Compute a panel: a comparison of encoders by metrics of their embeddings and term weights of the same documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.labeled import LabeledDataset
from encloze.data.labels.base import LabelFormat
from encloze.data.positive_pairs import PositivePairs
from encloze.data.records import Representation
from encloze.evaluation.geometry import l2_normalize
from encloze.evaluation.labels import LabelReport, evaluate_predictions
from encloze.evaluation.panel import EncoderMetrics, NearestDocument
from encloze.evaluation.panel_metrics import (
    MLM_HEAD,
    PairEmbeddings,
    PanelMetric,
    dense_metrics,
    sparse_metrics,
    tokenizer_metrics,
)
from encloze.evaluation.term_activations import TermActivations
from encloze.models.bi_encoder import BiEncoder
from encloze.models.device import batch_tokens
from encloze.models.frozen import FrozenEncoder
from encloze.models.heads.dense import Dense
from encloze.models.layers.pooling import Pooling
from encloze.models.layers.term_weights import apply_activation, max_logits
from encloze.models.precision import Precision, autocast
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import batch_by_length
from encloze.training.linear_probe import extract_features, linear_probe, nearest_neighbors

_MLM_HEAD_DOCUMENTS = 256  # the head computes logits over the whole vocabulary, which takes long
_NUM_FREQUENT_TERMS = 12
_NUM_NEAREST = 5
_NUM_MATCHING_TERMS = 6
_EXCERPT_CHARACTERS = 60
_PENALTIES = (1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True)
class PanelInputs:
    """Texts and settings of a panel, the same for all its encoders.

    Args:
        corpus: The documents.
        document_numbers: Indices of the encoded documents in the corpus, int64 of shape (documents,).
        positives: Pairs of related texts, such as queries with relevant documents; None if the corpus has none.
        queries: Queries for each of which the documents with the highest scores are listed.
        neighbors: Number of nearest neighbors for hubness and for the nearest-neighbor classifier.
        pooling: Pooling method for all encoders; if None, each encoder uses the method of its configuration.
        precision: Precision of the encoders' matrix multiplications.
    """

    corpus: Corpus
    document_numbers: np.ndarray
    positives: PositivePairs | None
    queries: Sequence[str]
    neighbors: int
    pooling: Pooling | None
    precision: Precision

    def encoder_metrics(self, model: str, name: str) -> EncoderMetrics:
        """Encode documents, queries and pairs with a model; compute metrics of their embeddings and term weights.

        Args:
            model: Folder, id on the Hugging Face hub, or minilm.
            name: Name of the encoder in tables.
        """
        progress.note(f"Encoding with {name}")
        encoder = _load_encoder(model, self.pooling, self.precision)
        texts = list(self.corpus.texts(self.document_numbers))
        documents, queries, pairs = self._encode(encoder, texts)
        tokens = encoder.tokenizer.encode(texts)
        metrics, frequent_terms = list[PanelMetric](), tuple[tuple[str, float], ...]()
        if dense := encoder.config.dense:
            pair_embeddings = self._pair_embeddings(pairs[0].dense, pairs[1].dense) if pairs else None
            is_normalized = bool(dense.normalize)
            metrics += dense_metrics(
                documents.dense, pair_embeddings, is_normalized=is_normalized, neighbors=self.neighbors
            )
        if documents.sparse is not None:
            activations = _activations(documents.sparse)
            has_queries = self.positives is not None and self.positives.first_is_query
            query_active_dims = _activations(pairs[0].sparse).active_dims if pairs and has_queries else None
            metrics += sparse_metrics("sparse", activations, _is_in_corpus(tokens, encoder), query_active_dims)
            frequent_terms = _frequent_terms(activations, encoder)
        elif encoder.backbone.missing_mlm_head_reason() is None and not encoder.backbone.mlm_head_is_new:
            sample = tokens[:: max(1, len(tokens) // _MLM_HEAD_DOCUMENTS)][:_MLM_HEAD_DOCUMENTS]
            activations = _mlm_head_activations(encoder, sample)
            metrics += sparse_metrics(MLM_HEAD, activations, _is_in_corpus(sample, encoder), None)
        metrics += _tokenizer_metrics(texts, tokens, encoder)
        nearest = self._nearest_documents(encoder, queries, documents)
        return EncoderMetrics(name, _describe(encoder), tuple(metrics), frequent_terms, nearest)

    def _encode(
        self, encoder: BiEncoder, texts: list[str]
    ) -> tuple[Representation, Representation, tuple[Representation, Representation] | None]:
        """Encode documents, queries, and the first and second texts of the positive pairs.

        Each distinct text is encoded once. The first and second texts are returned as a tuple, which is None if there
        are no positive pairs.
        """
        pairs = self.positives or PositivePairs("", [], [])
        queries = _DistinctTexts([*self.queries, *(pairs.first_texts if pairs.first_is_query else [])])
        documents = _DistinctTexts([*texts, *pairs.second_texts, *([] if pairs.first_is_query else pairs.first_texts)])
        encoded_queries = encoder.encode_queries(list(queries.number_of))
        encoded_documents = encoder.encode_documents(documents.number_of, len(documents.number_of))
        firsts = (
            queries.select(pairs.first_texts, encoded_queries)
            if pairs.first_is_query
            else documents.select(pairs.first_texts, encoded_documents)
        )
        sides = (firsts, documents.select(pairs.second_texts, encoded_documents)) if self.positives else None
        return documents.select(texts, encoded_documents), queries.select(self.queries, encoded_queries), sides

    def _pair_embeddings(self, firsts: np.ndarray, seconds: np.ndarray) -> PairEmbeddings:
        """Return the embeddings of the texts of the positive pairs, and which pairs are negatives of each other.

        The latter is a mask of shape (pairs, pairs). It is true where two pairs have no text in common, so that the
        texts of one pair are negatives of the other.
        """
        assert self.positives is not None
        sides = (self.positives.first_texts, self.positives.second_texts)
        same_first, same_second = (
            (numbers := _DistinctTexts(side).numbers(side))[:, None] == numbers for side in sides
        )
        return PairEmbeddings(self.positives.kind, firsts, seconds, ~(same_first | same_second))

    def _nearest_documents(
        self, encoder: BiEncoder, queries: Representation, documents: Representation
    ) -> tuple[tuple[NearestDocument, ...], ...]:
        if not self.queries:
            return ()
        scores = np.asarray(encoder.similarity.score(queries, documents))
        cosines = None if queries.dense is None else l2_normalize(queries.dense) @ l2_normalize(documents.dense).T
        result = []
        for row in range(len(self.queries)):
            nearest = list[NearestDocument]()
            for column in np.argsort(-scores[row], kind="stable")[:_NUM_NEAREST].tolist():
                id_, excerpt = self._id_and_excerpt(column)
                cosine = None if cosines is None else float(cosines[row, column])
                terms = _matching_terms(encoder, queries, row, documents, column)
                nearest.append(NearestDocument(id_, excerpt, float(scores[row, column]), cosine, terms))
            result.append(tuple(nearest))
        return tuple(result)

    def _id_and_excerpt(self, number: int) -> tuple[str, str]:
        document = self.corpus[int(self.document_numbers[number])]
        text = " ".join((document.title or document.text).split())
        if len(text) > _EXCERPT_CHARACTERS:
            text = f"{text[:_EXCERPT_CHARACTERS].rsplit(' ', 1)[0]} ..."
        return document.id, text


class _DistinctTexts:
    """The distinct texts of a list, numbered in the order of their first occurrence."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.number_of = {text: number for number, text in enumerate(dict.fromkeys(texts))}

    def select(self, texts: Sequence[str], representation: Representation) -> Representation:
        """Return the embeddings and term weights of ``texts``; ``representation`` holds those of the distinct texts."""
        numbers = self.numbers(texts)
        return Representation(*(None if view is None else view[numbers] for view in representation))

    def numbers(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self.number_of[text] for text in texts], np.int64)


def label_report(
    labels: LabelFormat, split: str, models: dict[str, str], inputs: PanelInputs, seed: int
) -> LabelReport:
    """Evaluate a nearest-neighbor classifier and a linear probe on the features of each model. No model is trained.

    Args:
        labels: The labeled data set.
        split: Name of the evaluated split.
        models: Folder or Hugging Face hub id of each model, keyed by the model's name in tables.
        inputs: Settings of the panel; only ``pooling``, ``precision`` and ``neighbors`` are used.
        seed: Seed of the cross-validation folds of the linear probe and of the bootstrap samples.

    Returns:
        One report with the results of the baselines of ``evaluate_predictions`` and of both classifiers of each model.
    """
    data, reports = LabeledDataset.load(labels, split), list[LabelReport]()
    for name, model in models.items():
        features = extract_features(data, FrozenEncoder.load(model, inputs.pooling, precision=inputs.precision))
        classifiers = {
            "nearest": nearest_neighbors(features, inputs.neighbors),
            "linear probe": linear_probe(features, split, _PENALTIES, seed),
        }
        reports += [
            evaluate_predictions(data, split, f"{name}, {kind}", one.predict(features[split]), one.note, seed)
            for kind, one in classifiers.items()
        ]
    baselines = reports[0].systems[:-1]
    return replace(reports[0], systems=(*baselines, *(report.systems[-1] for report in reports)))


def _load_encoder(model: str, pooling: Pooling | None, precision: Precision) -> BiEncoder:
    """Load a bi-encoder; ``pooling``, if given, replaces the pooling method of its dense heads."""
    encoder = BiEncoder.load(model, precision=precision)
    if pooling is None or encoder.config.dense is None:
        return encoder
    heads = tuple(replace(head, pooling=pooling) if isinstance(head, Dense) else head for head in encoder.config.heads)
    config = replace(encoder.config, heads=heads)
    changed = BiEncoder(encoder.backbone, encoder.tokenizer, config, encoder.head_modules.state_dict())
    changed.name, changed.precision = encoder.name, precision
    return changed.to(encoder.backbone.model.device).eval()


def _mlm_head_activations(encoder: BiEncoder, texts: list[Encoded]) -> TermActivations:
    """Count the active terms of each text, and the texts in which each term is active, according to the MLM head.

    As in SPLADE, the weight of a term in a text is the maximum of log(1 + relu(logit)) over the tokens of the text. A
    term is active if its weight is above 0.
    """
    backbone, max_tokens = encoder.backbone, encoder.config.max_document_tokens
    device, activations = backbone.model.device, TermActivations.empty(int(backbone.config.vocab_size))
    lengths = np.array([min(len(text.ids) + encoder.tokenizer.num_special_tokens, max_tokens) for text in texts])
    with progress.task("Computing term weights of the MLM head", len(texts), "documents") as bar:
        for rows in batch_by_length(lengths, batch_tokens(device)):
            batch = encoder.collate([texts[row] for row in rows], "document", device)
            with torch.inference_mode(), autocast(encoder.precision, device):
                hidden = backbone.encode(batch.ids, batch.attention_mask)
                logits = max_logits(hidden, batch.own_tokens, backbone.mlm_head())  # (batch, vocabulary)
                is_active = apply_activation(logits, "log1p_relu") > 0
            activations = activations.add(*(is_active.sum(dim=dim).cpu().numpy() for dim in (0, 1)))
            bar.advance(len(rows))
    return activations


def _describe(encoder: BiEncoder) -> str:
    """Describe an encoder: model type, hidden size, dense and sparse heads, and maximum tokens of a document."""
    parts = [f"{encoder.backbone.config.model_type}, hidden size {encoder.backbone.hidden_size}"]
    if dense := encoder.config.dense:
        norm = "L2-normalized" if dense.normalize else "not normalized"
        parts.append(f"embeddings: {dense.pooling} pooling, {encoder.views['dense']} dimensions, {norm}")
    parts += [f"sparse view: {head.name}" for head in encoder.config.heads if head.view == "sparse"]
    return "; ".join([*parts, f"documents truncated at {encoder.config.max_document_tokens} tokens"])


def _activations(weights: Any) -> TermActivations:
    """Count the active terms (weight above 0) of each text, and the texts in which each term is active.

    ``weights`` is a ``csr_matrix`` of term weights of shape (texts, vocabulary).
    """
    is_active = weights > 0
    per_term, per_text = (np.asarray(is_active.getnnz(axis=axis), np.int64) for axis in (0, 1))
    return TermActivations(per_term, per_text)


def _frequent_terms(activations: TermActivations, encoder: BiEncoder) -> tuple[tuple[str, float], ...]:
    frequencies, documents = activations.document_frequencies, len(activations.active_dims)
    most_frequent = np.argsort(-frequencies, kind="stable")[:_NUM_FREQUENT_TERMS].tolist()
    return tuple(
        (_term(encoder, id_), float(frequencies[id_] / documents)) for id_ in most_frequent if frequencies[id_]
    )


def _is_in_corpus(texts: Sequence[Encoded], encoder: BiEncoder) -> np.ndarray:
    """Return a bool array: whether each token of the vocabulary occurs in the texts; False for special tokens."""
    is_in_corpus = np.zeros(int(encoder.backbone.config.vocab_size), bool)
    limit = encoder.config.max_document_tokens - 2
    is_in_corpus[np.concatenate([text.ids[:limit] for text in texts])] = True
    is_in_corpus[encoder.tokenizer.special_ids] = False
    return is_in_corpus


def _tokenizer_metrics(texts: Sequence[str], tokens: Sequence[Encoded], encoder: BiEncoder) -> list[PanelMetric]:
    ids, unknown = np.concatenate([text.ids for text in tokens]), encoder.tokenizer.special_tokens.get("unk")
    unknown_ratio = float(np.mean(ids == encoder.tokenizer.backend.token_to_id(unknown))) if unknown else 0.0
    tokens_per_word = len(ids) / sum(len(text.split()) for text in texts)
    return tokenizer_metrics(_is_in_corpus(tokens, encoder), unknown_ratio, tokens_per_word)


def _matching_terms(
    encoder: BiEncoder, queries: Representation, row: int, documents: Representation, column: int
) -> tuple[tuple[str, float], ...]:
    """Return the terms that contribute most to the score of a query and a document, with their contributions."""
    if queries.sparse is None:
        return ()
    products = (queries.sparse[row].multiply(documents.sparse[column]) * encoder.similarity.sparse).tocoo()
    largest = np.argsort(-products.data, kind="stable")[:_NUM_MATCHING_TERMS]
    return tuple((_term(encoder, int(products.col[n])), float(products.data[n])) for n in largest)


def _term(encoder: BiEncoder, token_id: int) -> str:
    return encoder.tokenizer.backend.id_to_token(token_id) or f"[{token_id}]"  # some rows of the matrix have no token
