"""Filtering of generated queries: rejects empty and repeated queries, and those copied from their document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from encloze.data.hash_sampling import hash_to_unit_interval
from encloze.data.records import Document, LabeledQuery, full_text
from encloze.data.words import normalize_text, split_words

EMPTY = "empty"
REPEATED = "already generated for the document"
COPIED = "copied from the title or the beginning of the document"
IN_BOTH_SPLITS = "generated for documents of both splits"
NOT_RETRIEVED = "their document is not retrieved"


def filter_queries(generated: Iterable[tuple[Document, list[str]]], rejected: Counter[str]) -> dict[str, LabeledQuery]:
    """Return the generated queries except those that are empty, repeated for a document, or copied from the document.

    Queries of different documents that have the same normalized text are merged.

    Args:
        generated: Documents, each with the query texts that were generated for it.
        rejected: Counter to which the numbers of rejected queries are added, by reason.

    Returns:
        Queries by normalized text, each with the ids of the documents that it was generated for.
    """
    queries: dict[str, LabeledQuery] = {}
    for document, texts in generated:
        seen: set[str] = set()
        for text in texts:
            key = normalize_text(text)
            if reason := _rejection_reason(text, key, document, seen):
                rejected[reason] += 1
            else:
                queries.setdefault(key, LabeledQuery(text, [])).document_ids.append(document.id)
            seen.add(key)
    return queries


def group_by_split(
    queries: Iterable[LabeledQuery], split_of: Mapping[str, str], rejected: Counter[str]
) -> dict[str, list[LabeledQuery]]:
    """Group queries by the split of their documents. A query that has documents in both splits is rejected.

    Args:
        queries: Queries to group.
        split_of: Split of each document, by document id.
        rejected: Counter to which the numbers of rejected queries are added, by reason.
    """
    groups: dict[str, list[LabeledQuery]] = {}
    for query in queries:
        splits = {split_of[document] for document in query.document_ids}
        if len(splits) > 1:
            rejected[IN_BOTH_SPLITS] += 1
        else:
            groups.setdefault(splits.pop(), []).append(query)
    return groups


def split_of_document(document: Document, seed: int, dev_ratio: float) -> str:
    """Return ``dev`` or ``train``, chosen by a hash of the document's text. Equal texts are in the same split."""
    text = normalize_text(full_text(document.title, document.text))
    return "dev" if hash_to_unit_interval(f"dev {seed} {text}") < dev_ratio else "train"


def _rejection_reason(text: str, key: str, document: Document, seen: set[str]) -> str | None:
    """Return why a generated query is rejected; None if it is accepted.

    ``key`` is the normalized query. ``seen`` contains the normalized queries generated earlier for the same document.
    """
    if not split_words(text):
        return EMPTY
    if key in seen:
        return REPEATED
    return COPIED if _is_copied(key, document) else None


def _is_copied(key: str, document: Document) -> bool:
    """Return whether a normalized query is the document's title, or the beginning of its text or of title and text."""
    title, text = normalize_text(document.title), normalize_text(document.text)
    return key == title or any(
        beginning.startswith(key) and not beginning[len(key) : len(key) + 1].isalnum()
        for beginning in (text, f"{title} {text}")
    )
