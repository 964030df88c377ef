"""Changes of an index folder: adding, replacing and deleting documents, and compacting what they leave.

A change costs as much as its documents, not as much as the collection: added documents form a new segment, and deleted
documents are only marked (see ``index_state``). So that there are few segments, an addition merges the last ones, up to
20,000 documents, as soon as they are not larger than what follows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.field_columns import write_field_columns
from encloze.data.filters import Filter
from encloze.encoders.base import Encoder
from encloze.errors import DataError, RecipeError
from encloze.retrieval import engine_changes
from encloze.retrieval.answer_threshold import AnswerThreshold
from encloze.retrieval.index_building import Merged, build_views
from encloze.retrieval.index_change import IndexChange, Replacement
from encloze.retrieval.index_folder import (
    check_index,
    check_model,
    current_state,
    index_settings,
    open_fields,
    refuse_engine,
    stored_engine,
    view_entries,
)
from encloze.retrieval.index_state import (
    DOCUMENTS,
    FIELDS,
    IndexState,
    StoredSegment,
    commit,
    live_documents,
    new_segment_path,
    num_live,
    remove_unused,
    segments_of,
    write_deleted,
)
from encloze.search.segment import Segment
from encloze.storage.disk import explain_write_errors, remove
from encloze.storage.output_lock import lock_output

_MERGED_DOCUMENTS = 20_000
_MANY_SEGMENTS = 30
_LONGEST_LISTING = 5


def add_documents(
    folder: Path,
    documents: Corpus,
    encoder: Encoder | None,
    replace: Replacement = "none",
) -> IndexChange:
    """Add documents to an index folder. Searches that start after this function has returned find them.

    Args:
        folder: The index folder.
        documents: The documents.
        encoder: The model that built the indexes of the folder; None if all are built from text.
        replace: ``id`` replaces documents with the same ids. ``source`` also removes all other passages of the longer
            texts that the documents were cut from: a new version of a text may have fewer passages.

    Raises:
        DataError: Documents with some of the ids are in the index already, and ``replace`` is ``none``.
        StaleIndexError: The encoder is not the one that built the index.
        StorageError: Another process is changing the index, or the disk is full.
    """
    if stored_engine(folder):
        return engine_changes.add_documents(folder, documents, encoder, replace)
    with _locked(folder) as (state, entries):
        for entry in entries:
            if entry["model"] and encoder is None:
                message = f"the index {entry['name']} was built by {entry['model']}, which must encode the documents"
                raise RecipeError("the index", [("encoder", message)])
            if entry["model"] and encoder:
                check_model(folder, entry, encoder)
        ids = list(documents.ids)
        fields = open_fields(folder, state)
        rows = fields.find(ids)
        replaced = sum(map(len, rows))
        if replaced and replace == "none":
            raise DataError(_existing(folder, state, rows, ids))
        if replace == "source":
            sources = {source for source in documents.column("source").to_pylist() if source is not None}
            of_sources = fields.find(sorted(sources), "source")
            rows = [np.union1d(*both) for both in zip(rows, of_sources, strict=True)]
        left = _without(folder, state, rows)
        kept, merged = _to_merge(folder, left, len(documents))
        new = _write_segment(folder, state, merged, documents, entries, encoder)
        segments = [*kept, new]
        state = commit(folder, state, segments, [entry["name"] for entry in entries])
        return _result(folder, state, added=len(ids), replaced=replaced, deleted=sum(map(len, rows)) - replaced)


def delete_documents(folder: Path, ids: Sequence[str] | None = None, filter_: Filter | None = None) -> IndexChange:
    """Delete documents from an index folder. Searches that start after this function has returned do not find them.

    Args:
        folder: The index folder.
        ids: Ids of the documents. Those that the index does not contain are listed in the result.
        filter_: Condition on the fields of the documents to delete.

    Raises:
        RecipeError: No document has a field of the filter.
        StorageError: Another process is changing the index, or the disk is full.
    """
    if stored_engine(folder):
        return engine_changes.delete_documents(folder, ids, filter_)
    with _locked(folder) as (state, entries):
        fields, missing = open_fields(folder, state), tuple[str, ...]()
        if ids is None:
            assert filter_ is not None  # the caller gives one of them
            rows = fields.select_rows(filter_)
        else:
            rows = fields.find(ids)
            missing = tuple(id_ for id_ in dict.fromkeys(ids) if not any(map(len, fields.find([id_]))))
        if any(map(len, rows)):
            state = commit(folder, state, _without(folder, state, rows), [entry["name"] for entry in entries])
        return _result(folder, state, deleted=sum(map(len, rows)), missing=missing)


def compact(folder: Path) -> IndexChange:
    """Store the documents of an index folder in one segment, and free the space of those that were deleted.

    Searches find the same documents with the same scores as before, but faster if there were many segments. Nothing is
    encoded again. Processes that have opened the index keep searching the state that they opened.

    Raises:
        StorageError: Another process is changing the index, or the disk is full.
    """
    refuse_engine(folder, "compact")
    with _locked(folder) as (state, entries):
        is_compact = len(state.segments) == 1 and state.segments[0].deleted is None
        if not is_compact and num_live(state, segments_of(folder, state)):
            new = _write_segment(folder, state, state.segments, None, entries, None)
            state = commit(folder, state, [new], [entry["name"] for entry in entries])
        return _result(folder, state)


def set_answer_threshold(folder: Path, threshold: AnswerThreshold) -> None:
    """Store in an index folder how searches decide whether a query is answered. Later changes keep it.

    Raises:
        StorageError: Another process is changing the index, or the disk is full.
    """
    refuse_engine(folder, "threshold")
    with _locked(folder) as (state, entries):
        commit(folder, state, state.segments, [entry["name"] for entry in entries], threshold)


@contextmanager
def _locked(folder: Path) -> Iterator[tuple[IndexState, list[dict[str, Any]]]]:
    """Lock an index folder. Yield its state and the descriptions of its indexes. Afterwards, remove unused files."""
    folder = folder.resolve()  # a symbolic link and the folder have one lock
    with lock_output(folder), explain_write_errors(folder):
        check_index(folder)
        entries = view_entries(folder)
        names = [entry["name"] for entry in entries]
        remove_unused(folder, names)
        try:
            yield current_state(folder), entries
        finally:
            remove_unused(folder, names)


def _existing(folder: Path, state: IndexState, rows: Sequence[np.ndarray], ids: Sequence[str]) -> str:
    """Return the message that documents to add are in the index already."""
    places = [(place, row) for place, of_segment in enumerate(rows) for row in of_segment.tolist()]
    corpora = [Corpus(folder / segment.path / DOCUMENTS) for segment in state.segments]
    listed = ", ".join(corpora[place].ids[row] for place, row in places[:_LONGEST_LISTING])
    more = f" and {len(places) - _LONGEST_LISTING:,} more" if len(places) > _LONGEST_LISTING else ""
    is_numbered = set(ids) == set(map(str, range(len(ids))))
    remedy = "They seem to be numbered because they have no ids. Give each document an id"
    return (
        f"{len(places):,} of {len(ids):,} documents are in the index {folder} already, and none was added: "
        f"{listed}{more}. {remedy if is_numbered else 'Use update to replace them'}"
    )


def _without(folder: Path, state: IndexState, rows: Sequence[np.ndarray]) -> list[StoredSegment]:
    """Mark rows of each segment as deleted in the next state. Return the segments that still have documents.

    If no document is left, one segment remains, which describes the empty index.
    """
    left, empty = list[StoredSegment](), list[StoredSegment]()
    for place, (segment, deleted) in enumerate(zip(state.segments, rows, strict=True)):
        live = live_documents(folder, segment)
        if len(deleted):
            live = np.ones(segment.documents, np.bool_) if live is None else live
            live[deleted] = False
            segment = write_deleted(folder, state, place, np.flatnonzero(~live))
        (left if live is None or live.any() else empty).append(segment)
    return left or empty[:1]


def _to_merge(
    folder: Path, segments: Sequence[StoredSegment], added: int
) -> tuple[list[StoredSegment], list[StoredSegment]]:
    """Split segments into those that stay, and the last ones, which are merged with ``added`` new documents.

    So each document is copied a few times, and the number of segments grows with the logarithm of that of additions.
    """
    kept, size = list(segments), added
    while kept:
        live = live_documents(folder, kept[-1])
        count = kept[-1].documents if live is None else int(live.sum())
        if count > size or size + count > _MERGED_DOCUMENTS:
            break
        size += count
        kept.pop()
    if len(kept) >= _MANY_SEGMENTS:
        progress.note(f"{folder} has {len(kept) + 1} segments, which slow down searches. Merge them: encloze compact")
    return kept, list(segments[len(kept) :])


def _write_segment(
    folder: Path,
    state: IndexState,
    merged: Sequence[StoredSegment],
    added: Corpus | None,
    entries: Sequence[dict[str, Any]],
    encoder: Encoder | None,
) -> StoredSegment:
    """Write the segment of the next state: the documents of merged segments, followed by added ones."""
    path = new_segment_path(state)
    target = folder / path
    remove(target)
    target.mkdir(parents=True)
    old = [Segment(folder / segment.path, live_documents(folder, segment)) for segment in merged]
    parts = [Corpus(segment.folder / DOCUMENTS) for segment in old] + ([added] if added else [])
    Corpus.joined(parts, [*(segment.live for segment in old), *([None] if added else [])]).save(target / DOCUMENTS)
    documents = Corpus(target / DOCUMENTS)
    write_field_columns(documents, target / FIELDS)
    indexes = {entry["name"]: index_settings(folder, entry) for entry in entries}
    of_views = {name: [segment._replace(folder=segment.folder / name) for segment in old] for name in indexes}
    build_views(documents, indexes, encoder, target, merged=Merged(of_views, added))
    return StoredSegment(path, len(documents))


def _result(folder: Path, state: IndexState, **counts: Any) -> IndexChange:
    return IndexChange(folder, num_live(state, segments_of(folder, state)), len(state.segments), **counts)
