"""SHA-256 hashes of files, folders and values."""

from __future__ import annotations

import hashlib
from pathlib import Path

from encloze.storage.names import MANIFEST, README


def hash_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_tree(path: Path) -> str:
    """The SHA-256 of a file, or of the names and contents of a folder's files, but for a README of ours."""
    if path.is_file():
        return hash_file(path)
    digest = hashlib.sha256()
    told = path / README if (path / MANIFEST).is_file() else None
    for file in sorted(file for file in path.rglob("*") if file.is_file() and file != told):
        digest.update(f"{file.relative_to(path)}\0{hash_file(file)}\n".encode())
    return digest.hexdigest()


def hash_of(value: object) -> str:
    """The SHA-256 of a value's written form."""
    return hashlib.sha256(repr(value).encode()).hexdigest()
