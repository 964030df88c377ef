"""Choice of the fusion of several views: weights tuned on judged queries, or equal weights of all usable views.

The measurements behind the constants are in docs/explanation/log.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.hash_sampling import sample_queries
from encloze.encoders.base import Encoder
from encloze.errors import RecipeError
from encloze.evaluation.measures import compute_measures
from encloze.retrieval.candidates import encode_for_views, find_candidates, fused_run
from encloze.retrieval.index_folder import open_view, write_fusion
from encloze.retrieval.tuning_queries import default_tuning
from encloze.retrieval.views import View, default_fusion
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.weighted import Weighted

_MAX_QUERIES = 1000
_TIE = 1e-6  # differences in nDCG@10 below this are ties
_WEAK = 0.5  # a view with less than this share of the best view's nDCG@10 is reported
_SAMPLE_SIZE, _MIN_SAMPLE_SIZE = 200, 50  # documents of the check without judged queries
_SNIPPET_WORDS, _SNIPPET_LETTERS = 10, 30
_UNUSABLE = 1 / 3  # a view with less than this share of the best view's mean reciprocal rank gets the weight 0


class ChosenFusion(NamedTuple):
    """A fusion, and how it was chosen."""

    fusion: Fusion
    note: str
    """What the weights are based on, for reports; empty if all views have the default weights."""
    tuned_on: str = ""
    """The split on which the weights were tuned; empty if they were not tuned."""


def choose_fusion(
    views: Sequence[View], corpus: Corpus, dataset: DatasetSplit | None = None, tuning: DatasetSplit | None = None
) -> ChosenFusion:
    """Choose how the scores of views are combined.

    If all views use one encoder, their scores are combined as the encoder defines, unless ``tuning`` is given. Other
    views get the weights with the highest nDCG@10 on judged queries (see ``tune_fusion``). Without such queries, all
    views have the same weight, except that views which rarely find the document of a snippet have the weight 0 (see
    ``reciprocal_ranks``).

    Args:
        views: The views.
        corpus: The documents of the views.
        dataset: The evaluated split of a data set. The split dev or validation of this data set is used by default.
        tuning: Judged queries on which the weights are tuned, even if all views use one encoder.

    Raises:
        RecipeError: ``tuning`` is given, but there is only one view.
    """
    fusion = default_fusion(views)
    if tuning is None and dataset and len(views) > 1 and fusion == Weighted():
        tuning = default_tuning(dataset)
    if tuning:
        tuned = tune_fusion(views, corpus, tuning)
        weights = ", ".join(f"{view.name} {weight:g}" for view, weight in zip(views, tuned.weights, strict=True))
        return ChosenFusion(tuned, f"the fusion weights ({weights}) were tuned on {tuning.split}", tuning.split)
    if len(views) < 2 or fusion != Weighted() or len(corpus) < _MIN_SAMPLE_SIZE:
        return ChosenFusion(fusion, "")
    ranks = reciprocal_ranks(views, corpus)
    best = max(ranks, key=ranks.__getitem__)
    unusable = [name for name, value in ranks.items() if value < _UNUSABLE * ranks[best]]
    if not unusable:
        return ChosenFusion(fusion, "")
    found = ", ".join(f"{name} {value:.2f}" for name, value in ranks.items())
    names = " and ".join(unusable)
    progress.warn(
        f"{names} has the weight 0, because it rarely finds the document that a snippet was taken from (mean "
        f"reciprocal rank: {found}). Check that the encoder supports the language of the documents"
    )
    weights_of = tuple(0.0 if name in unusable else 1.0 for name in ranks)
    note = f"{names} has the weight 0, because it rarely finds the document of a snippet"
    return ChosenFusion(Weighted(weights_of), note)


def opened_views(folder: Path, entries: Sequence[Mapping[str, Any]], encoder: Encoder | None) -> list[View]:
    """Open the indexes of a new index folder.

    Args:
        folder: The index folder.
        entries: The descriptions of the indexes, as ``build_index`` returns them.
        encoder: The encoder that built the indexes; None if all were built from text.
    """
    if len(entries) < 2:
        return []  # one index needs no fusion
    return [View(entry["name"], open_view(folder, entry), encoder if entry["model"] else None) for entry in entries]


def fit_index_fusion(
    folder: Path,
    views: Sequence[View],
    corpus: Corpus,
    fusion: Fusion | None = None,
    dataset: DatasetSplit | None = None,
    tuning: DatasetSplit | None = None,
) -> None:
    """Choose the fusion of a new index folder, and store it in the folder. Nothing is stored for a single index.

    Args:
        folder: The index folder.
        views: The indexes in the folder. If there are fewer than two, nothing is stored.
        corpus: The documents.
        fusion: The fusion to store; None to choose it.
        dataset: Data set whose split dev or validation is used for tuning by default.
        tuning: Judged queries on which the weights are tuned, even if all indexes use one encoder.
    """
    if len(views) < 2:
        return
    chosen = ChosenFusion(fusion, "") if fusion else choose_fusion(views, corpus, dataset, tuning)
    source = tuning or dataset
    location = str(source.format.location()) if source and chosen.tuned_on else ""
    write_fusion(folder, chosen.fusion, chosen.note, {"split": chosen.tuned_on, "dataset": location})


def tune_fusion(views: Sequence[View], corpus: Corpus, tuning: DatasetSplit) -> Weighted:
    """Return the weighted fusion of two or more views that has the highest nDCG@10 on judged queries.

    For two views, 21 pairs of weights in steps of 0.05 are tried, for more views all weights in steps of 0.1. Of
    equally good weights, those with the smallest maximum are returned. At most 1,000 queries are used, selected by a
    hash of their ids. A warning names each view that alone has less than half the nDCG@10 of the best view.

    Raises:
        RecipeError: There is only one view.
    """
    names = [view.name for view in views]
    if len(names) < 2:
        message = "weights are tuned for two views or more, and there is only one. Leave out tune_on"
        raise RecipeError("the search", [("tune_on", message)])
    queries = sample_queries(tuning.queries, _MAX_QUERIES)
    judgments = {query.id: tuning.judgments[query.id] for query in queries}
    pools = find_candidates(views, [query.text for query in queries])

    def quality(weights: tuple[float, ...]) -> float:
        run = fused_run(queries, pools, corpus.ids, Weighted(weights), 10)
        return float(compute_measures(run, judgments, ["nDCG@10"])["nDCG@10"].mean())

    grid = list(_weights(len(names), 20 if len(names) == 2 else 10))
    title = f"Tuning the fusion on {tuning.split}"
    values = {weights: quality(weights) for weights in progress.track(grid, title, len(grid), "weights")}
    _warn_of_weak_views({names[weights.index(1)]: value for weights, value in values.items() if 1 in weights}, tuning)
    best = max(values.values())
    return Weighted(min((weights for weights in grid if values[weights] > best - _TIE), key=max))


def reciprocal_ranks(views: Sequence[View], corpus: Corpus) -> dict[str, float]:
    """Return how well each view finds the document that a snippet was taken from.

    A snippet of ten words is taken from each of at most 200 documents, and each view ranks all these documents for it.
    An encoder that does not know the language of the documents ranks them almost at random.

    Returns:
        The mean reciprocal rank of the snippets' documents for each view, from 0 to 1. Documents with equal
        scores get the mean of their ranks.
    """
    numbers = np.unique(np.linspace(0, len(corpus) - 1, _SAMPLE_SIZE).astype(np.int64))
    generator = np.random.default_rng(0)
    snippets = [snippet(text, generator) for text in corpus.texts(numbers)]
    results = {}
    with progress.use_listener(progress.SilentListener()):  # no warning that snippets are truncated
        encoded = encode_for_views(views, snippets)
    for view, queries in zip(views, encoded, strict=True):
        scores = np.stack(view.index.score(queries, [numbers] * len(numbers)))
        own = np.diagonal(scores)[:, None]
        ranks = 1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
        results[view.name] = float((1 / ranks).mean())
    return results


def snippet(text: str, generator: np.random.Generator) -> str:
    """Return ten consecutive words of a text, or 30 letters if its words are not separated by spaces."""
    words = text.split()
    if len(text) > _SNIPPET_LETTERS * max(1, len(words)):
        start = int(generator.integers(max(1, len(text) - _SNIPPET_LETTERS)))
        return text[start : start + _SNIPPET_LETTERS]
    start = int(generator.integers(max(1, len(words) - _SNIPPET_WORDS)))
    return " ".join(words[start : start + _SNIPPET_WORDS])


def _warn_of_weak_views(values: Mapping[str, float], tuning: DatasetSplit) -> None:
    """Warn of each view that is much worse than the best one. ``values`` maps each view to its nDCG@10 alone."""
    best = max(values, key=values.__getitem__)
    for name, value in values.items():
        if value < _WEAK * values[best]:
            progress.warn(
                f"on the split {tuning.split}, {name} alone has nDCG@10 {value:.4f}, and {best} alone "
                f"{values[best]:.4f}. Consider searching without {name}"
            )


def _weights(count: int, steps: int) -> Iterator[tuple[float, ...]]:
    """Yield all tuples of ``count`` weights from 0 to 1 that sum to 1 and are multiples of ``1 / steps``."""
    for cuts in itertools.combinations_with_replacement(range(steps + 1), count - 1):
        yield tuple(round((end - begin) / steps, 2) for begin, end in itertools.pairwise([0, *cuts, steps]))
