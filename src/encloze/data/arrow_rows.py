"""Reading of rows from Parquet files, and from folders that ``save_to_disk`` of the package datasets wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from encloze.data.lines import ErrorCollector
from encloze.errors import CheckpointError, DataError
from encloze.storage.json_files import read_json

_STATE_FILE, _SPLITS_FILE = "state.json", "dataset_dict.json"
_ROWS_PER_BATCH = 1024
_Rows = Iterator[tuple[str, dict[str, Any]]]


def read_parquet(files: Iterable[Path], errors: ErrorCollector) -> _Rows:
    """Read the rows of Parquet files.

    Args:
        files: The files, in order.
        errors: Receives the location of each row that is read.

    Yields:
        The location of each row (``part.parquet, row 17``) and its values by column.

    Raises:
        DataError: A file is not a Parquet file, or is damaged.
    """
    from pyarrow import parquet

    for file in files:
        try:
            with parquet.ParquetFile(file) as source:
                yield from _rows(file, source.iter_batches(_ROWS_PER_BATCH), errors)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file} is not a Parquet file, or is damaged: {error}. Write the file again") from error


def read_saved_dataset(folder: Path, split: str | None, errors: ErrorCollector) -> _Rows:
    """Read the rows of a ``Dataset`` or ``DatasetDict`` that ``save_to_disk`` wrote, without the package datasets.

    Args:
        folder: Folder that ``save_to_disk`` wrote.
        split: Split of a ``DatasetDict`` to read. It may be None if there is only one.
        errors: Receives the location of each row that is read.

    Yields:
        The location of each row (``data-00000-of-00001.arrow, row 17``) and its values by column.

    Raises:
        DataError: The split does not exist or is not named, or files are missing or damaged.
    """
    if splits := saved_splits(folder):
        if split is None and len(splits) > 1:
            raise DataError(f"{folder} has the splits {', '.join(splits)}. Set split to one of them")
        if split not in (None, *splits):
            raise DataError(f"{folder} has no split {split!r}. Its splits are: {', '.join(splits)}")
        folder = folder / (split or splits[0])
    elif split is not None:
        raise DataError(f"{folder} is a dataset without splits. Remove the setting split")
    files = _names(folder, _STATE_FILE, ("_data_files", "filename"))
    for file in (folder / name for name in files):
        try:
            with pa.memory_map(str(file)) as source:
                yield from _rows(file, pa.ipc.open_stream(source), errors)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file} is damaged: {error}. Save the dataset again") from error


def is_saved_dataset(folder: Path) -> bool:
    """Return whether ``save_to_disk`` of the package datasets appears to have written a folder."""
    return any((folder / name).is_file() for name in (_STATE_FILE, _SPLITS_FILE))


def parquet_files(path: Path) -> list[Path]:
    """Return a Parquet file itself, or the Parquet files of a folder in the order of their names."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def saved_splits(folder: Path) -> list[str]:
    """Return the splits of a ``DatasetDict`` that ``save_to_disk`` wrote; none for a ``Dataset``."""
    return _names(folder, _SPLITS_FILE, ("splits",)) if (folder / _SPLITS_FILE).is_file() else []


def _names(folder: Path, file: str, keys: tuple[str, ...]) -> list[str]:
    """Return the names of files or folders that ``file`` lists under ``keys[0]``; each entry holds it as ``keys[1]``.

    Raises DataError if the content is another one, or a name leads out of the folder.
    """
    try:
        listed = read_json(folder / file)[keys[0]]
        names = [entry[keys[1]] if len(keys) > 1 else entry for entry in listed]
    except (CheckpointError, KeyError, TypeError) as error:
        raise DataError(f"{folder / file} is damaged: it lists no {keys[0]}. Save the dataset again") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise DataError(f"{folder / file} is damaged: {name!r} is not the name of a file. Save the dataset again")
    return names


def _rows(file: Path, batches: Iterable[Any], errors: ErrorCollector) -> _Rows:
    number = 0
    for batch in batches:
        batch.validate(full=True)  # a damaged batch could crash the process
        for start in range(0, batch.num_rows, _ROWS_PER_BATCH):
            for row in batch.slice(start, _ROWS_PER_BATCH).to_pylist():
                number += 1
                errors.location = f"{file.name}, row {number}"
                yield errors.location, row
