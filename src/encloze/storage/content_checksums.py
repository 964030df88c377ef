"""Checksums of the content of files, which are remembered until the files change."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import xxhash

from encloze.storage.cache import cache_folder
from encloze.storage.disk import writer_id
from encloze.storage.hashes import hash_of
from encloze.storage.verified import file_states, is_settled


def content_checksum(files: Sequence[Path]) -> str:
    """Return an XXH3 checksum (128 bits) of the content of files, in their order. It takes about 0.1 seconds per GB.

    The checksum is remembered in the cache. It is computed again if the device, inode, size, or time of modification
    or status change of a file is another one.

    Raises:
        OSError: A file cannot be read.

    Example:
        >>> content_checksum([Path("texts.jsonl")])  # doctest: +SKIP
        'ac5ff05e8c1b41d8b49de1b3a2ea3c0b'
    """
    states, newest = file_states(files)
    state = hash_of(states)
    name = hash_of([str(file.absolute()) for file in files])[:32]
    memory = cache_folder() / "content_checksums" / f"{name}.txt"
    with contextlib.suppress(OSError, ValueError):  # no memory yet, or a damaged one: the files are read
        known_state, checksum = memory.read_text(encoding="ascii").split()
        if known_state == state:
            return checksum
    began, digest = time.time(), xxhash.xxh3_128()
    for file in files:
        with file.open("rb", buffering=0) as stream:
            digest.update(hashlib.file_digest(stream, xxhash.xxh3_128).digest())
    if is_settled(newest, began) and file_states(files)[0] == states:  # otherwise a later change might go unnoticed
        with contextlib.suppress(OSError):  # without a writable cache, the files are read again next time
            memory.parent.mkdir(exist_ok=True)
            staging = memory.with_name(f".{memory.name}.{writer_id()}")
            try:
                staging.write_text(f"{state} {digest.hexdigest()}", encoding="ascii")
                staging.replace(memory)
            finally:
                staging.unlink(missing_ok=True)  # of a full disk
    return digest.hexdigest()
