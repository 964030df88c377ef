"""Judgments that users give on the search page, stored so that trainings and evaluations read them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import TypedDict

from encloze.errors import CheckpointError, StorageError
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import read_json_log
from encloze.storage.locks import try_lock

_LOG, _QUERIES, _SPLIT = "judgments.jsonl", "queries.jsonl", "judged"


class _Entry(TypedDict):
    query: str
    document: str
    grade: int | None


class JudgmentFile:
    """A folder with the judgments of users: ``judgments.jsonl``, ``queries.jsonl`` and ``qrels/judged.tsv``.

    Each judgment is appended to the log and synchronized to disk; a later judgment of the same document for the same
    query replaces an earlier one. Queries and judgments are written in BEIR's layout after each change, so that
    ``{type: generated_queries, corpus: my_data, path: FOLDER}`` is a data set with the split ``judged``.

    Args:
        folder: The folder; created if it does not exist.

    Raises:
        CheckpointError: The log is damaged.
        StorageError: The folder cannot be written, contains something else, or another service uses it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, threading.Lock()
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / _LOG).is_file())):
            raise StorageError(f"{folder} contains something else than judgments. Choose a new folder for judgments")
        self._grades = dict[str, dict[str, int]]()  # by query and document
        with explain_write_errors(folder):
            (folder / "qrels").mkdir(parents=True, exist_ok=True)
            self._handle = (folder / _LOG).open("a", encoding="utf-8")
        if try_lock(self._handle.fileno()) is False:
            self._handle.close()
            raise StorageError(f"another service stores judgments in {folder}. Choose another folder")
        complete = (folder / _LOG).read_bytes().rfind(b"\n") + 1
        self._handle.truncate(complete)  # an incomplete last line was never acknowledged
        try:
            for entry in read_json_log(folder / _LOG, _Entry):
                self._set(entry["query"], entry["document"], entry["grade"])
        except CheckpointError:
            self.close()
            raise

    def add(self, query: str, document: str, grade: int | None) -> None:
        """Store a judgment; with the grade None, remove the one that was given before."""
        query = " ".join(query.split())
        entry: _Entry = {"query": query, "document": document, "grade": grade}
        with self._lock, explain_write_errors(self.folder):
            self._handle.write(_line(entry))
            self._handle.flush()
            os.fsync(self._handle.fileno())
            self._set(query, document, grade)
            self._write()

    def grades(self, query: str) -> dict[str, int]:
        """Return the grades of the documents that were judged for a query."""
        query = " ".join(query.split())
        with self._lock:
            return dict(self._grades.get(query, {}))

    def close(self) -> None:
        """Let another service use the folder."""
        self._handle.close()

    def __len__(self) -> int:
        return sum(map(len, self._grades.values()))

    def _set(self, query: str, document: str, grade: int | None) -> None:
        of_query = self._grades.setdefault(query, {})
        if grade is None:
            of_query.pop(document, None)
        else:
            of_query[document] = grade
        if not of_query:
            del self._grades[query]

    def _write(self) -> None:
        """Write the queries and the judgments in BEIR's layout."""
        ids = {query: hashlib.sha256(query.encode()).hexdigest()[:16] for query in self._grades}
        queries = "".join(
            json.dumps({"_id": id_, "text": text}, ensure_ascii=False) + "\n" for text, id_ in ids.items()
        )
        rows = (
            f"{ids[query]}\t{document}\t{grade}\n"
            for query, grades in self._grades.items()
            for document, grade in grades.items()
        )
        _replace(self.folder / _QUERIES, queries)
        _replace(self.folder / "qrels" / f"{_SPLIT}.tsv", "query-id\tcorpus-id\tscore\n" + "".join(rows))


def _line(entry: _Entry) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _replace(file: Path, content: str) -> None:
    """Write a file so that it has the old or the new content if the process is killed."""
    temporary = file.with_name(f".{file.name}.writing")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
