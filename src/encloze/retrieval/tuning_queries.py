"""Judged queries on which weights are tuned: those of a named split, or by default those of dev or validation."""

from __future__ import annotations

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.errors import DataError

TUNING_SPLITS = ("dev", "validation")
_MIN_QUERIES = 5


def named_tuning(dataset: DatasetSplit, split: str) -> DatasetSplit:
    """Return the queries of a split that have a relevant document in the collection.

    Raises:
        DataError: The split does not exist, is damaged, or has no such query.
    """
    tuning = queries_with_documents(dataset.with_split(split))
    if not tuning.queries:
        raise DataError(
            f"{dataset.format.location()}: no query of the split {split!r} has a relevant document in the collection, "
            "so it cannot be used for tuning. Name another split"
        )
    return tuning


def chosen_tuning(dataset: DatasetSplit, split: str | None) -> DatasetSplit | None:
    """Return the judged queries that a setting selects: ``auto`` (see ``default_tuning``), None or a named split."""
    if split == "auto":
        return default_tuning(dataset)
    return named_tuning(dataset, split) if split else None


def default_tuning(dataset: DatasetSplit) -> DatasetSplit | None:
    """Return the queries of the split dev or validation that have a relevant document in the collection.

    A split is not used if it cannot be read, has fewer than 5 such queries, or shares queries with ``dataset.split``. A
    progress note then gives the reason.

    Args:
        dataset: The split that is evaluated or trained on. Other splits of its data set are considered.

    Returns:
        The queries; None if no split is used, if ``dataset.split`` is dev, validation or unknown (an empty name), or
        if judgments have the ids of longer texts that the documents were cut from.
    """
    if dataset.judgments_by_source or dataset.split in ("", *TUNING_SPLITS):
        return None
    available = dataset.format.splits()
    own = {*dataset.judgments} if dataset.split in available else set()
    for split in (split for split in TUNING_SPLITS if split in available):
        try:
            tuning = queries_with_documents(dataset.with_split(split))
        except DataError as error:
            progress.note(f"The split {split} is not used: {error}")
            continue
        if len(tuning.queries) < _MIN_QUERIES:
            progress.note(
                f"The split {split} is not used, because only {len(tuning.queries)} of its queries have a relevant "
                f"document in the collection, and {_MIN_QUERIES} are needed"
            )
        elif own & tuning.judgments.keys():
            progress.note(f"The split {split} is not used, because it shares queries with the split {dataset.split}")
        else:
            return tuning
    return None


def queries_with_documents(tuning: DatasetSplit) -> DatasetSplit:
    """Return a copy of a split without the queries that have no relevant document in the collection."""
    known = tuning.corpus.number_of
    queries = [
        query
        for query in tuning.queries
        if any(grade > 0 and document in known for document, grade in tuning.judgments[query.id].items())
    ]
    usable = tuning.with_split(tuning.split)
    usable.queries, usable.judgments = queries, {query.id: tuning.judgments[query.id] for query in queries}
    return usable
