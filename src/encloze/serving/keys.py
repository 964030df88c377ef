"""API keys: who may read and who may write, and how often."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from encloze.errors import RecipeError
from encloze.storage.disk import explain_file_errors

Scope = Literal["read", "write"]
VARIABLE = "ENCLOZE_API_KEYS"
_MIN_LENGTH = 16
_ANYONE = "anonymous"


@dataclass
class ApiKey:
    """A key, of which only the hash is kept in memory."""

    name: str
    """Name of the key in logs and metrics."""
    digest: bytes
    """SHA-256 of the key."""
    scope: Scope
    """``read``: search, encode and re-rank. ``write``: also change documents and store judgments."""
    tokens: float = field(default=0.0, repr=False)
    """Requests that the key may send at once (token bucket)."""
    filled: float = field(default_factory=time.monotonic, repr=False)
    """When ``tokens`` was computed."""

    def may_send(self, rate: float) -> float:
        """Take one request from the bucket of the key; return the seconds to wait, or 0 if the request may be sent.

        Args:
            rate: Requests per second; as many may be sent at once.
        """
        now, capacity = time.monotonic(), max(1.0, rate)
        self.tokens = min(capacity, self.tokens + (now - self.filled) * rate)
        self.filled = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate


class ApiKeys:
    """The keys that a service accepts. Without keys, everybody may do everything.

    Example:
        >>> keys = ApiKeys.parse(["app read 0123456789abcdef", "admin write fedcba9876543210"])
        >>> keys.find("0123456789abcdef").scope
        'read'
        >>> keys.find("another key") is None
        True
    """

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = list(keys)
        self._anyone = ApiKey(_ANYONE, b"", "write", tokens=1.0)

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def load(cls, file: Path | None) -> ApiKeys:
        """Read keys from a file, or without a file from the environment variable ``ENCLOZE_API_KEYS``.

        Each line (in the variable, also each part between commas) is ``KEY``, ``SCOPE KEY`` or ``NAME SCOPE KEY``. The
        scope is ``read``, the default, or ``write``. Lines that begin with # are comments.

        Raises:
            RecipeError: A line is malformed, a key is too short or not ASCII, or there is no key in the file.
            StorageError: The file cannot be read.
        """
        if file is None:
            source, text = f"the variable {VARIABLE}", os.environ.get(VARIABLE, "").replace(",", "\n")
        else:
            with explain_file_errors():
                source, text = str(file), file.read_bytes().decode("utf-8", "replace")
        keys = cls.parse(text.splitlines(), source)
        if not keys and (file or text):
            raise RecipeError(source, [("keys", "there is no key in it. Add one, or start the service without keys")])
        return keys

    @classmethod
    def parse(cls, lines: Iterable[str], source: str = "the keys") -> ApiKeys:
        """Return the keys of lines; see ``load``. Error messages name lines by number and never contain a key."""
        keys, faults = list[ApiKey](), list[tuple[str, str]]()
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            *names, key = words
            scope = names[-1] if names else "read"
            if len(names) > 2 or scope not in get_args(Scope):
                faults.append(
                    (f"line {number}", "expected KEY, SCOPE KEY or NAME SCOPE KEY with the scope read or write")
                )
            elif not key.isascii():
                faults.append((f"line {number}", "a key has letters, digits and signs of ASCII only"))
            elif len(key) < _MIN_LENGTH:
                faults.append((f"line {number}", f"the key has fewer than {_MIN_LENGTH} characters. Use a longer one"))
            else:
                name = names[0] if len(names) == 2 else f"key-{len(keys) + 1}"
                keys.append(ApiKey(name, _digest(key), scope, tokens=1.0))  # type: ignore[arg-type]
        if faults:
            raise RecipeError(source, faults)
        return cls(keys)

    def find(self, given: str | None) -> ApiKey | None:
        """Return the key that a client sent; None if it is wrong or missing although keys are needed.

        Hashes of the same length are compared, with all keys, so that the time does not depend on what is right.
        """
        if not self._keys:
            return self._anyone
        digest, found = _digest(given or ""), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
