"""Arrow files of documents, which ``Corpus`` opens: their columns, their check, and how they are written."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from encloze.data.fields import write_fields
from encloze.data.records import Document
from encloze.storage.disk import explain_write_errors, writer_id

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("position", pa.int64()),
        ("fields", pa.string()),
    ]
)
ROWS_PER_BATCH = 4096


def validate(table: Any) -> None:
    """Raise ValueError if reading a table might fail, or crash the process. Reads the whole table."""
    table.validate(full=True)
    if missing := [name for name in ("id", "title", "text") if table.column(name).null_count]:
        raise ValueError(f"values are missing in its column {missing[0]}")


def write_documents(documents: Iterator[Document], file: Path) -> None:
    """Write documents to an Arrow file. The file appears under its name only when it is complete.

    Args:
        documents: Documents to write.
        file: File to write; its folder is created if necessary.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{writer_id()}")
    try:
        with (
            explain_write_errors(file),
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_file(sink, SCHEMA) as writer,
        ):
            while rows := list(itertools.islice(documents, ROWS_PER_BATCH)):
                columns = list(zip(*((*row[:-1], write_fields(row.fields)) for row in rows), strict=True))
                arrays = [pa.array(column, type_) for column, type_ in zip(columns, SCHEMA.types, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)
