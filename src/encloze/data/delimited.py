"""Reading of tab- and comma-separated tables, whose columns are named by a header row or known by their number."""

from __future__ import annotations

import contextlib
import csv
import functools
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from encloze import progress
from encloze.data.lines import ErrorCollector, open_binary, read_all_lines, required_text, uncompressed_suffix
from encloze.data.records import Query

_MAX_FIELD = 2**26
"""Characters of the longest quoted field."""
_CHUNK = 2**20
_FIRST_QUOTES = (b'\t"', b'\n"', b'\xbf"')  # after a tab, a line break, and a byte order mark
_DELIMITERS = (",", ";", "\t")
_TEXT = "text passage body content contents document doc paragraph abstract description sentence".split()
_QUERY = "question query anchor".split()
_ID = "id _id docid pid passage_id docno document_id did".split()
DOCUMENTS = {"id": _ID, "title": ["title", "headline", "heading"], "text": _TEXT, "url": ["url"]}
"""Words that name the columns of documents, by field. ``doc_id`` is the id only if no other column is."""
QUERIES = {"id": "id _id qid query_id queryid topic topic_id".split(), "text": ["text", *_QUERY, "title"]}
PAIRS = {"question": _QUERY, "answer": ["answer", "positive", "response", *_TEXT], "title": ["title"]}
Words = Mapping[str, Sequence[str]]


def read_table(
    file: Path,
    errors: ErrorCollector,
    words: Words,
    layouts: Sequence[Sequence[str]],
    chosen: Sequence[str] = (),
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a table.

    The first row of a ``.csv`` file is its header. That of another file is a header if it contains a name in
    ``chosen``, if its first value is a word for the first field, or if all its values are words for fields; otherwise
    the number of columns names them. Notes report once what was assumed: the separator of a ``.csv`` file, quotation
    marks in a ``.tsv`` file, and the columns.

    Args:
        file: A ``.csv`` or ``.tsv`` file, plain or gzipped.
        errors: Receives an error for each row that has another number of columns than the first row.
        words: Words of header rows, by the field that they name.
        layouts: Fields of tables without header row; each layout has another number of columns.
        chosen: Names of columns that the user set.

    Yields:
        The location of each row, and its values by field. Columns whose names are no words keep their names.
    """
    is_csv, names = uncompressed_suffix(file).lower() == ".csv", list[str]()
    for location, values in read_rows(file, errors):
        if not names:
            header = _header(values, words, chosen)
            known = header[0] == next(iter(words)) or set(header) <= set(words) or not set(chosen).isdisjoint(header)
            layout = next((fields for fields in layouts if len(fields) == len(values)), None)
            if layout is None and not is_csv and not known:
                expected = " or ".join(f"{len(fields)} ({', '.join(fields)})" for fields in layouts)
                remedy = "Name the columns in a header row"
                errors.add(location, f"expected {expected} tab-separated columns, found {len(values)}. {remedy}")
                return
            names = header if is_csv or known or layout is None else list(layout)
            if names is not header:
                _note_once(f"{file}: no header row; the columns are {', '.join(names)}")
            else:
                columns = (
                    value if value == name else f"{value} ({name})"
                    for value, name in zip(map(str.strip, values), names, strict=True)
                )
                _note_once(f"{file}: header row; the columns are {', '.join(columns)}")
                _check_header(names, location, errors)
                continue
        if len(values) != len(names):
            errors.add(location, f"expected {len(names)} columns ({', '.join(names)}), found {len(values)}")
        else:
            errors.location = location
            yield location, dict(zip(names, values, strict=True))


def read_queries(file: Path, errors: ErrorCollector) -> Iterator[Query]:
    """Read a table of queries: columns of ids and texts, with or without a header row (see ``read_table``)."""
    for location, row in read_table(file, errors, QUERIES, (("id", "text"),)):
        id_, text = (required_text(row, (name,), location, errors) for name in ("id", "text"))
        if id_ is not None and text is not None:
            yield Query(id_, text)


def _header(values: Sequence[str], words: Words, chosen: Sequence[str]) -> list[str]:
    """Return the names in a row. A word is replaced by its field if it is the only one for this field in the row."""
    keys = [value.strip().lower().lstrip("#").replace("-", "_").replace(" ", "_") for value in values]
    names = [value.strip() for value in values]
    for field, synonyms in words.items():
        places = [place for place, key in enumerate(keys) if key == field]
        places = places or [place for place, key in enumerate(keys) if key in synonyms and names[place] not in chosen]
        if not places and field == "id":
            places = [place for place, key in enumerate(keys) if key == "doc_id"]
        if len(places) == 1:
            names[places[0]] = field
    return names


def _check_header(names: Sequence[str], location: str, errors: ErrorCollector) -> None:
    for name, count in Counter(names).items():
        if count > 1 and name:
            errors.add(location, f"{count} columns have the name {name!r}. Rename all but one")


def read_rows(file: Path, errors: ErrorCollector) -> Iterator[tuple[str, list[str]]]:
    """Read the rows of a table that are not blank, including a header row.

    Quoted fields may contain separators, line breaks and doubled quotation marks. In a file other than ``.csv``,
    quotation marks are part of the text unless all fields that begin with one are quoted fields.

    Args:
        file: A ``.csv`` or ``.tsv`` file, plain or gzipped.
        errors: Receives an error for each row of a ``.csv`` file with misplaced quotation marks.

    Yields:
        The location of each row and its values.
    """
    is_csv = uncompressed_suffix(file).lower() == ".csv"
    delimiter = _delimiter(file) if is_csv else "\t"
    if is_csv or _is_quoted(file):
        for location, values in _quoted_rows(file, delimiter):
            if isinstance(values, csv.Error):
                errors.add(location, f"{values}. Close quoted fields, and write quotation marks inside them twice")
            elif any(value.strip() for value in values):
                yield location, values
    else:
        for location, line in read_all_lines(file):
            if line.strip():
                yield location, line.split(delimiter)


def _quoted_rows(file: Path, delimiter: str) -> Iterator[tuple[str, list[str] | csv.Error]]:
    """Yield the location of each row, and its values, or the error for a row that is not CSV."""
    locations: list[str] = []

    def lines() -> Iterator[str]:
        for location, line in read_all_lines(file):
            locations.append(location)
            yield f"{line}\n"

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        locations.clear()
        default = csv.field_size_limit(_MAX_FIELD)  # a setting of the process, so it is changed for one row only
        try:
            values: list[str] | csv.Error = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            values = error
        finally:
            csv.field_size_limit(default)
        yield locations[0] if locations else file.name, values


def _is_quoted(file: Path) -> bool:
    """Return whether a tab-separated file has quoted fields, and no other field that begins with a quotation mark."""
    if not _may_be_quoted(file):
        return False
    is_quoted = not any(isinstance(values, csv.Error) for _, values in _quoted_rows(file, "\t"))
    meaning = "fields in quotation marks are quoted, as in CSV" if is_quoted else "quotation marks are part of the text"
    _note_once(f"{file}: {meaning}")
    return is_quoted


def _may_be_quoted(file: Path) -> bool:
    """Return whether a quotation mark follows a tab, a line break or a byte order mark, or begins the file."""
    last = b"\n"
    with contextlib.suppress(OSError, EOFError, zlib.error), open_binary(file) as stream:  # reported when it is read
        while chunk := stream.read(_CHUNK):
            data = last + chunk
            if any(quote in data for quote in _FIRST_QUOTES):
                return True
            last = chunk[-1:]
    return False


def _delimiter(file: Path) -> str:
    """Return the separator of a CSV file: the first of comma, semicolon and tab that its first row contains."""
    first = next((line for _, line in read_all_lines(file) if line.strip()), "")
    found = next((delimiter for delimiter in _DELIMITERS if delimiter in first), ",")
    if found != ",":
        _note_once(f"{file}: columns are separated by {'semicolons' if found == ';' else 'tabs'}")
    return found


@functools.cache
def _note_once(text: str) -> None:
    """Report a note, unless the process has reported it before: queries and judgments are often read repeatedly."""
    progress.note(text)
