"""Conversion of in-memory data (lists of dictionaries, data frames, datasets) to files in the cache."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from encloze import recipe
from encloze.data.fields import FieldReader
from encloze.data.formats.base import Format
from encloze.data.formats.beir import Beir
from encloze.data.formats.jsonl import Jsonl
from encloze.data.qrels import MAX_GRADE
from encloze.data.rows import (
    Rows,
    describe,
    encodable,
    find_column,
    id_of,
    integer_of,
    only_split,
    reader_of,
    rows,
    text_of,
    text_or_number,
)
from encloze.errors import DataError, RecipeError
from encloze.storage.cache import cache_folder
from encloze.storage.cached_files import cached_folder

ID_COLUMNS = ("id", "_id", "docid")
_QUERY_IDS = ("id", "_id", "qid", "query_id")
_JUDGED_QUERIES = ("query-id", "query_id", "query", "qid")
_JUDGED_DOCUMENTS = ("corpus-id", "corpus_id", "document", "doc_id", "docid")
_GRADES = ("score", "grade", "relevance", "label")
_QUERY_COLUMNS = ("anchor", "query", "question")
_POSITIVE_COLUMNS = ("positive", "answer", "document", "passage", "text")
_SPLIT_NAMES = {"validation": "dev", "valid": "dev"}
_SPLIT_NAME = re.compile(r"[\w -]+")
_MAX_SPLIT_BYTES = 100
"""Names of splits become names of files."""
_LONGEST_LISTING = 10


def format_of(source: Any) -> Format:
    """Return a format that reads ``source``. Data in memory is first written to a cache folder named by its hash.

    Args:
        source: A path; the name of a format without settings (``python_docs``); a mapping with
            the ``type`` and the settings of a format; a ``Format``, a ``Corpus`` or a ``Dataset``; rows of documents
            (see ``rows``); or a mapping of splits to rows of pairs. A relative path is made absolute, so that it
            remains valid if the working folder changes.

    Raises:
        DataError: The source does not exist, or is not recognized.
    """
    if isinstance(source, Format):
        return source
    if isinstance(known := getattr(source, "format", None), Format):
        return known
    if isinstance(source, (str, Path)):
        return _format_of_path(str(source))
    if isinstance(source, Mapping):
        if isinstance(source.get("type"), str):
            return _format_of_settings(dict(source))
        if {"corpus", "queries", "qrels"} <= set(source):
            return dataset_format(source["corpus"], source["queries"], source["qrels"])
        if {"corpus", "queries"} <= set(source):
            names = ", ".join(map(str, source))
            raise DataError(f"a data set of corpus and queries needs qrels too; it has {names}. Add judgments as qrels")
        if (only := only_split(source)) is None or _is_pairs(list(itertools.islice(rows(only, "documents"), 1))):
            return pairs_format(source)
    read = list(rows(source, "documents"))
    return pairs_format({"train": [row for _, row in read]}) if _is_pairs(read) else corpus_format(read)


def _format_of_settings(settings: dict[str, Any]) -> Format:
    try:
        made: Format = recipe.coerce(Format, settings, source="the format", name=settings["type"])
    except RecipeError as error:
        raise DataError(str(error)) from error
    return made


def _format_of_path(source: str) -> Format:
    if not source:
        raise DataError("expected a path or the name of a format, found an empty string")
    try:
        return Format.from_name(str(Path(source).absolute()) if Path(source).exists() else source)
    except OSError as error:  # such as a name that is too long
        raise DataError(f"{source[:80]}: cannot be read: {error.strerror}. Give a path") from error
    except ValueError as error:
        raise DataError(str(error)) from error


def _is_pairs(read: list[tuple[str, dict[str, Any]]]) -> bool:
    """Return whether rows are pairs of a query and a document. Only the columns of the first row are checked."""
    return bool(read) and "text" not in read[0][1] and find_column(read[0][1], _QUERY_COLUMNS) is not None


def corpus_format(documents: Iterable[tuple[str, dict[str, Any]]], folder: Path | None = None) -> Format:
    """Write documents to a JSON lines file in ``folder``, by default in the cache, and return its format.

    Raises:
        DataError: Rows are invalid. The error lists them.
    """
    text = _lines(_documents(documents))
    if folder is None:
        return Jsonl(_stored(text, "documents.jsonl"))
    _write_files({"documents.jsonl": text}, folder)
    return Jsonl(folder / "documents.jsonl")


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
    """Write pairs of a query and a relevant document to a folder in BEIR layout in the cache.

    Args:
        splits: Rows with a query column (``anchor``, ``query``, ``question``) and a document column (``positive``,
            ``answer``, ``document``, ``passage``, ``text``) for each split; ``validation`` is read as ``dev``. Equal
            texts become one query or one document. Other columns are ignored.

    Raises:
        DataError: A row lacks one of the two columns.
    """
    documents, queries = dict[str, str](), dict[str, str]()
    judgments = dict[str, dict[tuple[str, str], None]]()
    for split, table in _by_split(splits).items():
        found = judgments.setdefault(split, {})
        for where, row in rows(table, split):
            query, positive = find_column(row, _QUERY_COLUMNS), find_column(row, _POSITIVE_COLUMNS)
            if query is None or positive is None:
                wanted, columns = ("a query", _QUERY_COLUMNS) if query is None else ("a document", _POSITIVE_COLUMNS)
                raise DataError(
                    f"{where} has no column with {wanted} ({', '.join(columns)}); its columns are "
                    f"{', '.join(map(str, row))}"
                )
            if (grade := find_column(row, _GRADES)) and row[grade] == 0:
                raise DataError(
                    f"{where}: the {grade} is 0, but every pair counts as relevant. Leave out such rows, or give "
                    "judgments with Dataset.from_dicts"
                )
            query_text, document_text = text_of(row, query, where), text_of(row, positive, where)
            query_id = queries.setdefault(query_text, f"q{len(queries)}")
            document_id = documents.setdefault(document_text, f"d{len(documents)}")
            found[query_id, document_id] = None
    if not queries:
        raise DataError("there are no pairs. Give rows with a query and a relevant document")
    return dataset_format(
        [{"id": id_, "text": text} for text, id_ in documents.items()],
        {id_: text for text, id_ in queries.items()},
        {
            split: [{"query": query, "document": document, "grade": 1} for query, document in found]
            for split, found in judgments.items()
        },
    )


def _documents(documents: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    faults, first = list[str](), dict[str, str]()
    reader = FieldReader(("text", "title", "position"))
    for number, (where, row) in enumerate(documents):
        if "text" not in row:
            faults.append(
                f"{where} has no text (its columns: {', '.join(map(str, row)) or 'none'}). Name the column with the "
                "text 'text', and leave out rows whose text is missing"
            )
            continue
        try:
            document: dict[str, Any] = {"_id": str(number), "title": "", "text": text_of(row, "text", where)}
            if (id_ := find_column(row, ID_COLUMNS)) is not None:
                document["_id"] = id_of(row[id_], f"{where}.{id_}")
            if "title" in row:
                document["title"] = text_or_number(row["title"], f"{where}.title")
            if (source := find_column(row, ("source", "doc_id"))) is not None:
                document["doc_id"] = id_of(row[source], f"{where}.{source}")
            if "position" in row:
                document["position"] = integer_of(row["position"], f"{where}.position")
            extra = reader.read(row, [column for column in (id_, source) if column])
            encodable(str(extra), where)
        except DataError as error:
            faults.append(str(error))
            continue
        if (earlier := first.setdefault(document["_id"], where)) is not where:
            faults.append(f"{where}: duplicate document id {document['_id']!r}, which {earlier} has too")
        yield {**extra, **document}
    _stop(faults)
    if not first:
        raise DataError("documents: the list of documents is empty. Give at least one document")


def _queries(queries: Any) -> Iterator[dict[str, Any]]:
    faults, seen = list[str](), set[str]()
    if isinstance(queries, Mapping) and only_split(queries) is None:
        listed: Rows = ((f"queries[{id_!r}]", {"id": id_, "text": text}) for id_, text in queries.items())
    else:
        listed = rows(queries, "queries")
    for where, row in listed:
        id_ = find_column(row, _QUERY_IDS)
        if id_ is None or "text" not in row:
            faults.append(f"{where} has no {'id' if id_ is None else 'text'} (its columns: {', '.join(map(str, row))})")
            continue
        try:
            query = {"_id": id_of(row[id_], f"{where}.{id_}"), "text": text_or_number(row["text"], f"{where}.text")}
        except DataError as error:
            faults.append(str(error))
            continue
        if query["_id"] in seen:
            faults.append(f"{where}: duplicate query id {query['_id']!r}")
        seen.add(query["_id"])
        yield query
    _stop(faults)


def _qrels(qrels: Any) -> dict[str, str]:
    """Return the text of the qrels file (tab-separated judgments) of each split, keyed by split name."""
    if isinstance(qrels, Mapping) and not all(_is_grades(value) for value in qrels.values()):
        tables = _by_split(qrels)
    else:
        tables = {"test": qrels}
    return {split: _qrels_file(table, f"qrels[{split!r}]") for split, table in tables.items()}


def _is_grades(value: object) -> bool:
    """Return whether ``value`` is a mapping of document ids to grades, such as ``{"d1": 1}``."""
    return isinstance(value, Mapping) and not any(
        isinstance(grade, (Mapping, list, tuple, set)) or reader_of(grade) for grade in value.values()
    )


def _by_split(tables: Mapping[Any, Any]) -> dict[str, Any]:
    """Return ``tables``, keyed by split name, with the splits ``validation`` and ``valid`` renamed to ``dev``.

    Raises a DataError if a split name is invalid, or if two splits have the same name after the renaming.
    """
    named = dict[str, Any]()
    for name, table in tables.items():
        split = _SPLIT_NAMES.get(str(name), str(name))
        if name is None or not _SPLIT_NAME.fullmatch(split) or len(split.encode()) > _MAX_SPLIT_BYTES:
            raise DataError(
                "expected the name of a split, made of letters, digits, spaces, - and _, "
                f"found {describe(name)}. Rename the split"
            )
        if split in named:
            raise DataError(f"two splits are read as {split!r} ({', '.join(map(str, tables))}). Combine or rename them")
        named[split] = table
    return named


def _qrels_file(table: Any, name: str) -> str:
    lines, faults = ["query-id\tcorpus-id\tscore"], list[str]()
    for where, query, document, grade in _judgments(table, name, faults):
        try:
            ids = id_of(query, f"{where}: query id"), id_of(document, f"{where}: document id")
            number = integer_of(grade, f"{where}: score")
            if abs(number) > MAX_GRADE:
                faults.append(f"{where}: the score must be from {-MAX_GRADE:,} to {MAX_GRADE:,}, found {number}")
            lines.append("\t".join((*ids, str(number))))
        except DataError as error:
            faults.append(str(error))
    _stop(faults)
    return "".join(f"{line}\n" for line in lines)


def _judgments(table: Any, name: str, faults: list[str]) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield the location, query id, document id and grade of each judgment.

    For each row or mapping that is invalid, a message is appended to ``faults`` instead.
    """
    if isinstance(table, Mapping) and only_split(table) is None:
        for query, grades in table.items():
            if not isinstance(grades, Mapping):
                expected = "expected grades by document id, such as {'d1': 1}"
                faults.append(f"{name}[{query!r}]: {expected}, found {describe(grades)}")
                continue
            yield from ((f"{name}[{query!r}][{id_!r}]", query, id_, grade) for id_, grade in grades.items())
        return
    for where, row in rows(table, name):
        names = (_JUDGED_QUERIES, _JUDGED_DOCUMENTS, _GRADES)
        columns = [column for some in names if (column := find_column(row, some)) is not None]
        if len(columns) < len(names):
            faults.append(f"{where} needs query-id, corpus-id and score; it has {', '.join(map(str, row))}")
        else:
            query, document, grade = (row[column] for column in columns)
            yield where, query, document, grade


def _lines(objects: Iterable[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(value, ensure_ascii=False)}\n" for value in objects)


def _stored(text: str, name: str) -> Path:
    """Write ``text`` to the file ``name`` in a cache folder named by the hash of both. Return the path of the file."""
    return _stored_folder({name: text}) / name


def _stored_folder(files: Mapping[str, str]) -> Path:
    """Write files to a cache folder named by their hash, unless this folder exists. Return the folder."""
    digest = hashlib.sha256()
    for name, text in files.items():
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    folder = cache_folder() / "in_memory" / digest.hexdigest()[:32]
    return cached_folder(folder, lambda staging: _write_files(files, staging))


def _write_files(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _stop(faults: list[str]) -> None:
    if faults:
        more = f"\n  and {len(faults) - _LONGEST_LISTING} more" if len(faults) > _LONGEST_LISTING else ""
        raise DataError("\n  ".join(faults[:_LONGEST_LISTING]) + more)
