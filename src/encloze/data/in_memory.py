"""Data from memory as files in the cache: lists of dictionaries, data frames and datasets become known formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.jsonl import Jsonl
from encloze.data.records import Document
from encloze.errors import DataError
from encloze.storage.atomic import atomic_folder
from encloze.storage.cache import cache_folder

Rows = Iterator[tuple[str, dict[str, Any]]]
"""Rows by column name, each with a description of where it is, for messages."""

_IDS = ("id", "_id", "docid")
_QUERY_COLUMNS = ("anchor", "query", "question")
_POSITIVE_COLUMNS = ("positive", "answer", "document", "passage", "text")
_SPLIT_NAMES = {"validation": "dev", "valid": "dev"}
_LONGEST_LISTING = 10


def is_rows(value: object) -> bool:
    """Return whether ``value`` is a list or tuple, a data frame (pandas, polars), an Arrow table or a dataset."""
    return isinstance(value, (list, tuple)) or _reader(value) is not None


def rows(value: Any, name: str) -> Rows:
    """Read rows of whatever holds them in memory.

    Args:
        value: A list of dictionaries, ``Document`` records or strings; a pandas or polars data frame; an Arrow table; a
            ``datasets.Dataset``. Recognized by their methods, so none of these packages is imported.
        name: What the rows are, for messages, such as ``documents``.

    Yields:
        Where each row is (``documents[3]``), and the row by column name; a string becomes ``{"text": string}``.

    Raises:
        DataError: ``value`` holds no rows, or one of them is something else.
    """
    read = _reader(value)
    if read is None and (isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable)):
        raise DataError(
            f"{name}: expected rows (a list of dictionaries, a data frame, a dataset), found {_kind(value)}"
        )
    for number, row in enumerate(value if read is None else read()):
        where = f"{name}[{number}]"
        if isinstance(row, Document):
            yield where, row._asdict()
        elif isinstance(row, str):
            yield where, {"text": row}
        elif isinstance(row, Mapping):
            yield where, dict(row)
        else:
            raise DataError(f"{where}: expected a dictionary or a string, found {_kind(row)}")


def format_of(source: Any) -> Format:
    """Return a format that reads ``source``; data in memory is written to the cache first, under its hash.

    Args:
        source: A path, the name of a format without settings (``python_docs``), a ``Format``, a ``Corpus`` or a
            ``Dataset``; rows of documents (see ``rows``); or a mapping of splits to rows of pairs.

    Raises:
        DataError: Nothing is there, or it is not recognized.
    """
    if isinstance(source, Format):
        return source
    if isinstance(known := getattr(source, "format", None), Format):
        return known
    if isinstance(source, (str, Path)):
        try:
            return Format.from_name(str(source))
        except ValueError as error:
            raise DataError(str(error)) from error
    if isinstance(source, Mapping):
        if {"corpus", "queries", "qrels"} <= set(source):
            return dataset_format(source["corpus"], source["queries"], source["qrels"])
        return pairs_format(source)
    read = list(rows(source, "documents"))
    if read and not (read[0][1].keys() & {"text"}) and _column(read[0][1], _QUERY_COLUMNS):
        return pairs_format({"train": source})
    return corpus_format(read)


def corpus_format(documents: Iterable[tuple[str, dict[str, Any]]]) -> Format:
    """Write documents to a JSON lines file in the cache. Raises DataError that lists rows without text."""
    return Jsonl(_stored(_lines(_documents(documents)), "documents.jsonl"))


def dataset_format(corpus: Any, queries: Any, qrels: Any) -> Format:
    """Write a data set to a folder in BEIR layout in the cache.

    Args:
        corpus: Rows of documents.
        queries: Rows with ``id`` and ``text``, or a mapping of ids to texts.
        qrels: A mapping of splits to judgments. Judgments are rows with ``query-id``, ``corpus-id`` and ``score`` (or
            ``query``, ``document``, ``grade``), or a mapping of query ids to ``{document id: grade}``. Judgments
            without a split belong to ``test``.

    Raises:
        DataError: A row lacks a column.
    """
    files = {
        "corpus.jsonl": _lines(_documents(rows(corpus, "corpus"))),
        "queries.jsonl": _lines(_queries(queries)),
        **{f"qrels/{split}.tsv": text for split, text in _qrels(qrels).items()},
    }
    return Beir(_stored_folder(files))


def pairs_format(splits: Mapping[str, Any]) -> Format:
    """Write pairs of a query and a relevant document, as sentence-transformers trains on, to a folder in BEIR layout.

    Args:
        splits: Rows with a query column (``anchor``, ``query``, ``question``) and a document column (``positive``,
            ``answer``, ``document``, ``passage``, ``text``) for each split; ``validation`` is read as ``dev``. Equal
            texts become one query or one document. Other columns are ignored.

    Raises:
        DataError: A row lacks one of the two columns.
    """
    documents, queries = dict[str, str](), dict[str, str]()
    judgments = dict[str, dict[tuple[str, str], None]]()
    for split, table in splits.items():
        found = judgments.setdefault(_SPLIT_NAMES.get(split, split), {})
        for where, row in rows(table, split):
            query, positive = _column(row, _QUERY_COLUMNS), _column(row, _POSITIVE_COLUMNS)
            if query is None or positive is None:
                wanted, columns = ("a query", _QUERY_COLUMNS) if query is None else ("a document", _POSITIVE_COLUMNS)
                raise DataError(
                    f"{where} has no column of {wanted} ({', '.join(columns)}); it has {', '.join(map(str, row))}"
                )
            query_text, document_text = _text(row, query, where), _text(row, positive, where)
            query_id = queries.setdefault(query_text, f"q{len(queries)}")
            document_id = documents.setdefault(document_text, f"d{len(documents)}")
            found[query_id, document_id] = None
    return dataset_format(
        [{"id": id_, "text": text} for text, id_ in documents.items()],
        {id_: text for text, id_ in queries.items()},
        {
            split: [{"query": query, "document": document, "grade": 1} for query, document in found]
            for split, found in judgments.items()
        },
    )


def _documents(documents: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    faults = list[str]()
    for number, (where, row) in enumerate(documents):
        if not isinstance(row.get("text"), str):
            faults.append(f"{where} has no text (its columns: {', '.join(map(str, row)) or 'none'})")
            continue
        id_ = next((row[name] for name in _IDS if row.get(name) is not None), number)
        document = {"_id": str(id_), "title": str(row.get("title") or ""), "text": row["text"]}
        if (source := row.get("source", row.get("doc_id"))) is not None:
            document["doc_id"] = str(source)
        if row.get("position") is not None:
            document["position"] = int(row["position"])
        yield document
    _stop(faults)


def _queries(queries: Any) -> Iterator[dict[str, Any]]:
    if isinstance(queries, Mapping):
        yield from ({"_id": str(id_), "text": text} for id_, text in queries.items())
        return
    faults = list[str]()
    for where, row in rows(queries, "queries"):
        id_ = next((row[name] for name in ("id", "_id", "qid", "query_id") if row.get(name) is not None), None)
        if id_ is None or not isinstance(row.get("text"), str):
            faults.append(f"{where} has no {'id' if id_ is None else 'text'} (its columns: {', '.join(map(str, row))})")
        else:
            yield {"_id": str(id_), "text": row["text"]}
    _stop(faults)


def _qrels(qrels: Any) -> dict[str, str]:
    """Return the text of a qrels file for each split."""
    if isinstance(qrels, Mapping) and not all(_is_grades(value) for value in qrels.values()):
        tables = {_SPLIT_NAMES.get(str(split), str(split)): table for split, table in qrels.items()}
    else:
        tables = {"test": qrels}
    return {split: _qrels_file(table, f"qrels[{split!r}]") for split, table in tables.items()}


def _is_grades(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(grade, int) for grade in value.values())


def _qrels_file(table: Any, name: str) -> str:
    lines, faults = ["query-id\tcorpus-id\tscore"], list[str]()
    if isinstance(table, Mapping):
        lines += [
            f"{query}\t{document}\t{grade}" for query, grades in table.items() for document, grade in grades.items()
        ]
    else:
        columns = (("query-id", "query_id", "query", "qid"), ("corpus-id", "corpus_id", "document", "doc_id", "docid"))
        for where, row in rows(table, name):
            query, document = (_column(row, names) for names in columns)
            grade = _column(row, ("score", "grade", "relevance", "label"))
            if query is None or document is None or grade is None:
                faults.append(f"{where} needs query-id, corpus-id and score; it has {', '.join(map(str, row))}")
            else:
                lines.append(f"{row[query]}\t{row[document]}\t{row[grade]}")
    _stop(faults)
    return "".join(f"{line}\n" for line in lines)


def _column(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"{where}: expected text in the column {column!r}, found {_kind(value)}")
    return value


def _reader(value: object) -> Any:
    """Return a function that lists the rows of a data frame, an Arrow table or a dataset; None for anything else."""
    if hasattr(value, "iter_rows") and hasattr(value, "columns"):  # polars
        return lambda: value.iter_rows(named=True)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # pandas
        return lambda: value.to_dict(orient="records")
    if hasattr(value, "to_pylist") and hasattr(value, "schema"):  # pyarrow
        return value.to_pylist
    if hasattr(value, "column_names") and hasattr(value, "__iter__"):  # datasets
        return lambda: iter(value)
    return None


def _lines(objects: Iterable[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(value, ensure_ascii=False)}\n" for value in objects)


def _stored(text: str, name: str) -> Path:
    """Write a text to the cache under its hash, unless it is there."""
    return _stored_folder({name: text}) / name


def _stored_folder(files: Mapping[str, str]) -> Path:
    """Write files to a folder in the cache that is named by their hash, unless it is there."""
    digest = hashlib.sha256()
    for name, text in files.items():
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    folder = cache_folder() / "in_memory" / digest.hexdigest()[:32]
    if not folder.is_dir():
        with atomic_folder(folder, overwrite=True) as staging:
            for name, text in files.items():
                (staging / name).parent.mkdir(exist_ok=True)
                (staging / name).write_text(text, encoding="utf-8", newline="\n")
    return folder


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r}"[:80]


def _stop(faults: list[str]) -> None:
    if faults:
        more = f"\n  and {len(faults) - _LONGEST_LISTING} more" if len(faults) > _LONGEST_LISTING else ""
        raise DataError("\n  ".join(faults[:_LONGEST_LISTING]) + more)
