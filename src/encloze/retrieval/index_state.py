"""State of an index folder: the segments that its documents are stored in, and the documents that were deleted.

An index is built as one segment in the folder itself. Every change writes new files only: segments with added documents
in ``segments``, the deleted rows of segments in ``deleted``, and the new state in ``state-NUMBER.json``. The manifest,
which is replaced atomically, names the files of the current state, so a reader sees the state before a change or after
it. Files that the manifest does not name were left by a process that was killed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from encloze.retrieval.answer_threshold import AnswerThreshold
from encloze.search.npy_files import damaged, map_array
from encloze.search.segment import Segment
from encloze.storage.disk import remove
from encloze.storage.json_files import read_json, write_json
from encloze.storage.manifest import check_inside, read_manifest, replace_entries
from encloze.storage.names import MANIFEST
from encloze.storage.verified import file_states

DOCUMENTS, FIELDS = "documents.arrow", "fields.arrow"
_SEGMENTS, _DELETED = "segments", "deleted"
_STATE = re.compile(r"state-([0-9]{1,18})\.json")
_FIELD_TYPES: dict[str, tuple[type, ...]] = {"path": (str,), "documents": (int,), "deleted": (str, type(None))}


class StoredSegment(NamedTuple):
    """A segment of an index folder."""

    path: str
    """Its folder, relative to the index folder; empty for the segment that was built first."""
    documents: int
    """Number of its documents, including those that were deleted."""
    deleted: str | None = None
    """File with the rows of the documents that were deleted; None if there are none."""


class IndexState(NamedTuple):
    """The segments of an index folder at some time."""

    number: int
    """Number of the state: 0 for a new index, and one more after each change."""
    segments: tuple[StoredSegment, ...]
    """The segments, in the order of their documents."""
    answer_threshold: AnswerThreshold | None = None
    """Decides whether a query is answered; None if no threshold was chosen."""


def read_state(folder: Path, documents: int) -> IndexState:
    """Return the current state of an index folder.

    Args:
        folder: The index folder. A folder that is being built has no manifest yet.
        documents: Number of documents with which the index was built.

    Raises:
        CheckpointError: The state is damaged.
    """
    names = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    numbers = [int(found[1]) for name in names if (found := _STATE.fullmatch(name))]
    if not numbers:
        return IndexState(0, (StoredSegment("", documents),))
    number = max(numbers)
    file = folder / f"state-{number}.json"
    value = read_json(file)
    entries = value.get("segments")
    if not isinstance(entries, list) or not entries or not all(_is_segment(entry) for entry in entries):
        raise damaged(file, "it has no list of segments")
    segments = tuple(StoredSegment(**entry) for entry in entries)
    for segment in segments:
        for path in filter(None, (segment.path, segment.deleted)):
            check_inside(folder, path)
    if len({segment.path for segment in segments}) < len(segments):
        raise damaged(file, "two segments have the same folder")
    stored = value.get("answer_threshold")
    try:
        return IndexState(number, segments, None if stored is None else AnswerThreshold.from_dict(stored))
    except ValueError as error:
        raise damaged(file, str(error)) from error


def live_documents(folder: Path, segment: StoredSegment) -> np.ndarray | None:
    """Return which documents of a segment have not been deleted: bool, (documents,). None if all are left.

    Raises:
        CheckpointError: The file with the deleted rows is damaged.
    """
    if segment.deleted is None:
        return None
    file = folder / segment.deleted
    rows = np.array(map_array(file, np.int32))
    if (np.diff(rows) <= 0).any() or rows.min(initial=0) < 0 or rows.max(initial=-1) >= segment.documents:
        raise damaged(file, f"it does not contain ascending rows of {segment.documents} documents")
    live = np.ones(segment.documents, np.bool_)
    live[rows] = False
    return live


def segments_of(folder: Path, state: IndexState, view: str = "") -> list[Segment]:
    """Return the folders of a view in all segments, or without ``view`` those of the segments themselves."""
    versions = [tuple(file_states([folder / segment.path / DOCUMENTS])[0]) for segment in state.segments]
    return [
        Segment(folder / segment.path / view, live_documents(folder, segment), version)
        for segment, version in zip(state.segments, versions, strict=True)
    ]


def num_live(state: IndexState, segments: Sequence[Segment]) -> int:
    """Return the number of documents in segments of a state that have not been deleted."""
    pairs = zip(state.segments, segments, strict=True)
    return sum(s.documents if segment.live is None else int(segment.live.sum()) for s, segment in pairs)


def new_segment_path(state: IndexState) -> str:
    """Return the path of the segment that the next change adds, relative to the index folder."""
    return f"{_SEGMENTS}/{state.number + 1}"


def write_deleted(folder: Path, state: IndexState, place: int, rows: np.ndarray) -> StoredSegment:
    """Write the deleted rows of a segment in the next state. Return the segment with this file.

    Args:
        folder: The index folder.
        state: The current state.
        place: Position of the segment in the state.
        rows: The rows, ascending.
    """
    name = f"{_DELETED}/{place}-{state.number + 1}.npy"
    (folder / _DELETED).mkdir(exist_ok=True)
    np.save(folder / name, rows.astype(np.int32))
    return state.segments[place]._replace(deleted=name)


def commit(
    folder: Path,
    state: IndexState,
    segments: Sequence[StoredSegment],
    views: Sequence[str],
    answer_threshold: AnswerThreshold | None = None,
) -> IndexState:
    """Make ``segments`` the current state of an index folder, and remove the files that are not used any more.

    The change takes place when the manifest is replaced. At that time all files of the new state are on disk.

    Args:
        folder: The index folder, locked.
        state: The current state.
        segments: The segments of the new state. The files of new ones have been written.
        views: Names of the indexes in the folder.
        answer_threshold: The answer threshold of the new state; by default that of the current state.
    """
    new = IndexState(state.number + 1, tuple(segments), answer_threshold or state.answer_threshold)
    content: dict[str, Any] = {"segments": [segment._asdict() for segment in segments]}
    if new.answer_threshold:
        content["answer_threshold"] = new.answer_threshold.to_dict()
    write_json(folder / f"state-{new.number}.json", content)
    before = read_manifest(folder)
    added = [folder / f"state-{new.number}.json"]
    for segment in segments:
        if segment not in state.segments:
            added += [folder / segment.deleted] if segment.deleted else []
        if segment.path and segment.path not in {old.path for old in state.segments}:
            added += [file for file in (folder / segment.path).rglob("*") if file.is_file()]
    used = {path for segment in segments for path in (segment.path, segment.deleted)}
    kept = {name for name in before if not _STATE.fullmatch(name) and _owner(name, views) in {None, *used}}
    replace_entries(folder, kept, added)
    remove_unused(folder, views)
    return new


def _owner(name: str, views: Sequence[str]) -> str | None:
    """Return the path of the segment that a file belongs to, or of the file with deleted rows; None for other files."""
    first, *others = name.split("/")
    if first in (DOCUMENTS, FIELDS, *views):
        return ""
    if first == _SEGMENTS:
        return f"{first}/{others[0]}"
    return name if first == _DELETED else None


def remove_unused(folder: Path, views: Sequence[str]) -> None:
    """Remove the files of earlier states, and those that a process was writing when it was killed."""
    used = set(read_manifest(folder))
    used |= {parent.as_posix() for name in used for parent in PurePosixPath(name).parents}
    paths = [path for kind in (_SEGMENTS, _DELETED) for path in (folder / kind).glob("*")]
    paths += [folder / name for name in (DOCUMENTS, FIELDS, *views)] + list(folder.glob("state-*.json"))
    paths += folder.glob(f".*{MANIFEST}")  # not renamed yet
    for path in paths:
        if path.relative_to(folder).as_posix() not in used:
            remove(path)


def _is_segment(entry: Any) -> bool:
    """Return whether a JSON value has the fields of a ``StoredSegment``."""
    return (
        isinstance(entry, dict)
        and set(entry) == set(_FIELD_TYPES)
        and all(isinstance(entry[name], types) for name, types in _FIELD_TYPES.items())
        and 0 <= entry["documents"] < 2**31
    )
