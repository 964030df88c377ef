"""Training examples: queries with their relevant documents, hard negatives and teacher scores."""

from __future__ import annotations

from dataclasses import replace

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.records import Query, Run, TrainingExample
from encloze.data.runs import top_documents
from encloze.data.words import normalize_text
from encloze.errors import DataError


def training_examples(
    dataset: DatasetSplit, negatives: Run | None = None, depth: int = 200, teacher: Run | None = None
) -> list[tuple[Query, TrainingExample]]:
    """Return a training example for each query that has a relevant document.

    The hard negatives of a query are documents that the run ``negatives`` ranks for it. Documents that are relevant to
    the query, or to another query with the same text, are excluded; unjudged documents are not. Warns if queries are
    skipped or if the run contains documents that are not in the corpus.

    Args:
        dataset: Split to train on.
        negatives: Run that hard negatives are taken from.
        depth: Maximum rank of a negative in the run.
        teacher: Run with the scores of a teacher model. Negatives without a score are removed, and so are queries
            without a scored positive or without a scored negative.

    Returns:
        Pairs of a query and its training example, in the order of the queries.

    Raises:
        DataError: No query has a relevant document; or no query has a negative in the run ``negatives``; or no query
            has a positive and a negative with a teacher score.

    Example:
        >>> (query, example), *_ = training_examples(Dataset.load("my_data").split("train"))  # doctest: +SKIP
    """
    dataset.check_judged_documents()
    number_of, examples = dataset.corpus.number_of, list[tuple[Query, TrainingExample]]()
    unknown, relevant_by_text = dict[str, None](), _relevant_by_text(dataset)
    for query in dataset.queries:
        grades = dataset.judgments[query.id]
        positives = tuple(number_of[d] for d, grade in grades.items() if grade > 0 and d in number_of)
        ranked = top_documents((negatives or {}).get(query.id, {}), depth)
        unknown |= dict.fromkeys(d for d in ranked if d not in number_of)
        relevant = relevant_by_text[normalize_text(query.text)]
        hard = tuple(n for d in ranked if (n := number_of.get(d)) is not None and n not in relevant)
        if positives:
            examples.append((query, TrainingExample(query.text, positives, hard, relevant=tuple(sorted(relevant)))))
    if not examples:
        raise DataError(
            f"{dataset.format.location()}: no query of the split {dataset.split!r} has a relevant document. Choose a "
            "split with judgments above 0"
        )
    if skipped := len(dataset.queries) - len(examples):
        progress.warn(f"{skipped} queries of the split {dataset.split!r} have no relevant document and are skipped")
    if negatives is not None:
        _check_negatives(dataset, [example for _, example in examples], list(unknown))
    return examples if teacher is None else _with_teacher_scores(dataset, examples, teacher)


def _relevant_by_text(dataset: DatasetSplit) -> dict[str, set[int]]:
    """Return, by normalized query text, the row numbers of the documents relevant to any query with this text."""
    relevant: dict[str, set[int]] = {}
    for query in dataset.queries:
        documents = (document for document, grade in dataset.judgments[query.id].items() if grade > 0)
        numbers = (dataset.corpus.number_of.get(document) for document in documents)
        relevant.setdefault(normalize_text(query.text), set()).update(n for n in numbers if n is not None)
    return relevant


def _check_negatives(dataset: DatasetSplit, examples: list[TrainingExample], unknown: list[str]) -> None:
    """Warn if queries have no negatives, or if the run ranks documents that are not in the corpus (``unknown``).

    Raises DataError if no query has a negative.
    """
    ids = f", for example {', '.join(unknown[:3])}" if unknown else ""
    without = sum(not example.negatives for example in examples)
    if without == len(examples):
        raise DataError(
            f"the run of negatives has no negative for any query of the split {dataset.split!r}: all documents that it "
            f"ranks are relevant or not in {dataset.format.location()} ({len(unknown)} are not in the corpus{ids}). "
            "Give a run of the queries of this split over this corpus"
        )
    if unknown:
        progress.warn(f"{len(unknown)} documents of the run of negatives are not in {dataset.format.location()}{ids}")
    if without:
        progress.warn(f"{without} of {len(examples)} queries have no negatives in the run")


def _with_teacher_scores(
    dataset: DatasetSplit, examples: list[tuple[Query, TrainingExample]], teacher: Run
) -> list[tuple[Query, TrainingExample]]:
    """Add the teacher's scores to the examples, and remove negatives that the teacher did not score.

    Queries without a scored positive or without a scored negative are omitted.
    """
    ids, scored_examples, unscored = dataset.corpus.ids, list[tuple[Query, TrainingExample]](), 0
    for query, example in examples:
        scores = teacher.get(query.id, {})
        negatives = tuple(n for n in example.negatives if ids[n] in scores)
        scored_positives = sum(ids[n] in scores for n in example.positives)
        unscored += len(example.positives) - scored_positives + len(example.negatives) - len(negatives)
        if scored_positives and negatives:
            scored = replace(
                example,
                negatives=negatives,
                positive_scores=tuple(scores.get(ids[n], float("nan")) for n in example.positives),
                negative_scores=tuple(scores[ids[n]] for n in negatives),
            )
            scored_examples.append((query, scored))
    if not scored_examples:
        raise DataError(
            f"none of the {len(examples)} queries has both a positive and a negative with a teacher score. Give "
            "teacher scores for the queries of this split and for the documents in the run of negatives"
        )
    if unscored:
        progress.warn(
            f"{unscored} positives and negatives have no teacher score and are skipped; "
            f"{len(examples) - len(scored_examples)} of {len(examples)} queries are skipped because they have no "
            "scored positive or no scored negative"
        )
    return scored_examples
