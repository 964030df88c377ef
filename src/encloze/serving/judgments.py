"""Judgments that users give on the search page, stored so that trainings and evaluations read them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from encloze.data.query_file import text_id
from encloze.data.records import Judgments
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
        ids: Ids of queries by text; other queries get an id that depends on their text only.

    Raises:
        CheckpointError: The log is damaged.
        StorageError: The folder cannot be written, contains something else, or another service uses it.
    """

    def __init__(self, folder: Path, ids: Mapping[str, str] | None = None) -> None:
        self.folder, self._lock = folder, threading.Lock()
        self._ids = {_one_line(text): id_ for text, id_ in (ids or {}).items()}
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

    def add(self, judgments: Mapping[str, Mapping[str, int | None]]) -> None:
        """Store grades by query and document; the grade None removes the one that was given before."""
        lines = {_one_line(query): grades for query, grades in judgments.items()}
        with self._lock, explain_write_errors(self.folder):
            entries = [(query, id_, grade) for query, grades in lines.items() for id_, grade in grades.items()]
            for query, document, grade in entries:
                self._handle.write(_line({"query": query, "document": document, "grade": grade}))
            self._handle.flush()
            os.fsync(self._handle.fileno())
            for query, document, grade in entries:
                self._set(query, document, grade)
            self._write()

    def grades(self, query: str) -> dict[str, int]:
        """Return the grades of the documents that were judged for a query."""
        with self._lock:
            return dict(self._grades.get(_one_line(query), {}))

    def judgments(self) -> Judgments:
        """Return all grades by the id of the query and the document."""
        with self._lock:
            return {self._id(query): dict(grades) for query, grades in self._grades.items()}

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

    def _id(self, query: str) -> str:
        return self._ids.get(query) or text_id(query)

    def _write(self) -> None:
        """Write the queries and the judgments in BEIR's layout."""
        ids = {query: self._id(query) for query in self._grades}
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


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
