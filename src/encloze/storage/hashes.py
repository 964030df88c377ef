"""Hashes of files, folders and values."""

from __future__ import annotations

import hashlib
from pathlib import Path

import xxhash

from encloze.storage.names import MANIFEST, README


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file. It takes about one second per GB."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksum_file(file: Path) -> str:
    """Return the XXH3 checksum of a file (128 bits), which detects damage. It takes about 0.1 seconds per GB."""
    with file.open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()


def checksum_of(content: str | bytes) -> str:
    """Return the XXH3 checksum of a text or of bytes (128 bits)."""
    return xxhash.xxh3_128(content.encode(errors="surrogatepass") if isinstance(content, str) else content).hexdigest()


def hash_tree(path: Path) -> str:
    """Return the SHA-256 of a file; for a folder, the SHA-256 of the names and contents of its files.

    The README of a folder that encloze wrote is excluded, because users may edit it.
    """
    if path.is_file():
        return hash_file(path)
    digest = hashlib.sha256()
    readme = path / README if (path / MANIFEST).is_file() else None
    for file in sorted(file for file in path.rglob("*") if file.is_file() and file != readme):
        digest.update(f"{file.relative_to(path)}\0{hash_file(file)}\n".encode())
    return digest.hexdigest()


def hash_of(value: object) -> str:
    """Return the SHA-256 of the ``repr`` of a value."""
    return hashlib.sha256(repr(value).encode()).hexdigest()
