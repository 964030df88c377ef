"""Metrics of one encoder: geometry of its embeddings, terms with a positive weight per text, fit of its tokenizer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from encloze.evaluation import geometry
from encloze.evaluation.term_activations import TermActivations
from encloze.intervals import Interval
from encloze.tables import Cell, Kind

MLM_HEAD = "MLM head"
"""Group of the metrics of an encoder's head for masked language modeling."""


class PairEmbeddings(NamedTuple):
    """Embeddings of both texts of each positive pair, such as a query and a relevant document."""

    kind: str
    """Kind of the pairs, such as "queries and relevant documents"."""
    firsts: np.ndarray
    """Embeddings of the first texts, of shape (pairs, dim)."""
    seconds: np.ndarray
    """Embeddings of the second texts, of shape (pairs, dim)."""
    negatives: np.ndarray
    """Boolean array of shape (pairs, pairs): whether second text j is a negative for first text i."""


class PanelMetric(NamedTuple):
    """Value of a metric for one encoder, with its range and interpretation."""

    group: str
    """What the metric describes: ``dense`` or ``sparse`` vectors, ``MLM head`` or ``tokenizer``."""
    name: str
    value: float
    range: str
    """Range of possible values, as text, such as ``0 to 1``."""
    interpretation: str
    is_count: bool = False
    """Whether the value is a count, shown without decimal places."""
    low: float | None = None
    """If ``value`` is a median over texts, the 5 % quantile over these texts; otherwise None."""
    high: float | None = None
    """If ``value`` is a median over texts, the 95 % quantile over these texts; otherwise None."""

    def cell(self) -> Cell:
        """Return a table cell with the value and, if ``low`` and ``high`` are not None, the interval between them."""
        is_quantile = self.low is not None and self.high is not None
        value = Interval(self.value, self.low, self.high) if is_quantile else self.value  # type: ignore[arg-type]
        return Cell(value, Kind.COUNT if self.is_count else Kind.STATISTIC)


def dense_metrics(
    embeddings: np.ndarray, pairs: PairEmbeddings | None, *, is_normalized: bool, neighbors: int
) -> list[PanelMetric]:
    """Compute the metrics of the embeddings of documents.

    Args:
        embeddings: Array of shape (documents, dim) with at least two documents.
        pairs: Embeddings of positive pairs, for alignment and pair AUC; None omits these two metrics.
        is_normalized: Whether the model L2-normalizes its embeddings.
        neighbors: Number of nearest neighbors of each document, from which hubness is computed.

    Returns:
        The metrics. The share of all-zero embeddings is one of them; the other metrics exclude these embeddings.
    """
    metrics, nonzero = list[PanelMetric](), embeddings[embeddings.any(axis=1)]
    if len(nonzero) < len(embeddings):
        share = 1 - len(nonzero) / len(embeddings)
        interpretation = "share of embeddings that are all zeros; the other metrics exclude them"
        metrics.append(_dense("zero embeddings", share, "0 to 1", interpretation))
    if len(nonzero) < 2:
        return metrics
    metrics += _distribution_metrics(nonzero)
    if pairs is not None:
        distance = geometry.alignment(pairs.firsts, pairs.seconds)
        interpretation = f"mean squared distance of {pairs.kind}; lower is better only if uniformity is low"
        metrics.append(_dense("alignment", distance, "0 to 4", interpretation))
        if pairs.negatives.any():
            auc = geometry.pair_auc(pairs.firsts, pairs.seconds, pairs.negatives)
            interpretation = "how often a positive pair has a higher cosine than a negative one; 0.5 is chance"
            metrics.append(_dense("pair AUC", auc, "0 to 1", interpretation))
    if not is_normalized:
        interpretation = "standard deviation of the norms over their mean; high values dominate inner products"
        metrics.append(_dense("norm variation", geometry.norm_variation(nonzero), "from 0", interpretation))
    if len(nonzero) > neighbors:
        hubness = geometry.hubness(nonzero, neighbors)
        interpretation = f"skewness of the occurrences in lists of {neighbors} neighbors; above 1.5 a few are hubs"
        metrics.append(_dense("hubness", hubness.skewness, "from about 0", interpretation))
        interpretation = f"share of documents that are in no list of {neighbors} neighbors; lower is better"
        metrics.append(_dense("anti-hub rate", hubness.anti_hub_rate, "0 to 1", interpretation))
    return metrics


def _distribution_metrics(embeddings: np.ndarray) -> list[PanelMetric]:
    documents, dim = embeddings.shape
    return [
        _dense("mean cosine", geometry.mean_cosine(embeddings), "-1 to 1", "of two documents; high if anisotropic"),
        _dense(
            "centered cosine",
            geometry.centered_cosine(embeddings),
            "0 to 1",
            "root mean square cosine after the mean is subtracted; lower is better",
        ),
        _dense(
            "effective rank",
            geometry.effective_rank(embeddings),
            f"1 to {min(documents - 1, dim)}",
            "number of dimensions effectively used; below 2 the embeddings have collapsed",
        ),
        _dense(
            "PC1 variance share",
            geometry.pc1_variance_share(embeddings),
            "0 to 1",
            "share of the variance in the first principal component; lower is better",
        ),
        _dense(
            "uniformity",
            geometry.uniformity(embeddings),
            "-4 to 0",
            "0 if all embeddings are equal, -4 if evenly spread; lower is better",
        ),
    ]


def sparse_metrics(
    group: str, activations: TermActivations, is_in_corpus: np.ndarray, query_active_dims: np.ndarray | None
) -> list[PanelMetric]:
    """Compute the metrics of the term weights of documents.

    Args:
        group: ``sparse`` if the term weights are the encoder's sparse vectors; ``MLM head`` if the encoder has none and
            its head for masked language modeling computed them.
        activations: For each term, the number of documents in which it is active (has a weight above 0); for each
            document, the number of its active terms.
        is_in_corpus: Boolean array of shape (vocabulary,): whether a term occurs in the documents.
        query_active_dims: Number of active terms of each query; None if there are no queries.

    Returns:
        The metrics.
    """
    vocabulary, documents = len(activations.document_frequencies), len(activations.active_dims)
    sides = (("document", activations.active_dims), ("query", query_active_dims))
    metrics = [
        _active_dims(group, side, counts, vocabulary) for side, counts in sides if counts is not None and len(counts)
    ]
    return [
        *metrics,
        PanelMetric(
            group,
            "terms never activated",
            activations.dead_ratio,
            "0 to 1",
            f"share of the vocabulary without a weight in any of {documents:,} documents; high in a small corpus",
        ),
        PanelMetric(
            group,
            "in-corpus terms never activated",
            activations.dead_ratio_in_corpus(is_in_corpus),
            "0 to 1",
            "share of the terms in the documents without a weight in any; sparse search cannot match them",
        ),
        PanelMetric(
            group,
            "terms with document frequency of 95 % and more",
            float(activations.num_frequent_terms),
            f"0 to {vocabulary}",
            "terms that cost search time without discriminating between documents",
            is_count=True,
        ),
    ]


def tokenizer_metrics(is_in_corpus: np.ndarray, unknown_ratio: float, tokens_per_word: float) -> list[PanelMetric]:
    """Return metrics of how well a tokenizer fits the documents.

    Args:
        is_in_corpus: Boolean array of shape (vocabulary,): whether a token occurs in the documents.
        unknown_ratio: Share of unknown tokens among the tokens of the documents.
        tokens_per_word: Number of tokens divided by the number of words.
    """
    return [
        PanelMetric(
            "tokenizer",
            "vocabulary coverage",
            float(is_in_corpus.mean()),
            "0 to 1",
            "share of the vocabulary that occurs in the documents",
        ),
        PanelMetric(
            "tokenizer",
            "unknown tokens",
            unknown_ratio,
            "0 to 1",
            "share of unknown tokens; above 0.003 the tokenizer does not fit the documents",
        ),
        PanelMetric(
            "tokenizer",
            "tokens per word",
            tokens_per_word,
            "about 1 or more",
            "above 2, words are split into many pieces; the setting new_words of pretrain may help",
        ),
    ]


def _dense(name: str, value: float, range_: str, interpretation: str) -> PanelMetric:
    return PanelMetric("dense", name, value, range_, interpretation)


def _active_dims(group: str, side: str, counts: np.ndarray, vocabulary: int) -> PanelMetric:
    low, median, high = (float(quantile) for quantile in np.quantile(counts, [0.05, 0.5, 0.95]))
    interpretation = "median with 5 % and 95 % quantiles; index size and search time grow with it"
    name, range_ = f"active dimensions per {side}", f"0 to {vocabulary}"
    return PanelMetric(group, name, median, range_, interpretation, is_count=True, low=low, high=high)
