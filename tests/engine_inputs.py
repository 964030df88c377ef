"""Small inputs of the tests of search engines: an encoder without a model, and documents with fields."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

import toys
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.similarity import Similarity


class RandomEncoder(Encoder):
    """An encoder whose vectors are random numbers, the same for the same text."""

    name, arithmetic = "random", "float32 on cpu"

    def __init__(self, kinds: Sequence[str] = ("dense",), fingerprint: str = "f1", dim: int = 8) -> None:
        self._views, self._fingerprint, self._dim = dict.fromkeys(kinds, dim), fingerprint, dim

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def views(self) -> dict[str, int]:
        return self._views

    @property
    def similarity(self) -> Similarity:
        return Similarity(dense=1.0, sparse=0.5)

    def represent_queries(self, texts: Sequence[str]) -> Representation:
        seeds = [np.random.default_rng(zlib.crc32(text.encode())) for text in texts]
        dense = np.array([seed.normal(size=self._dim) for seed in seeds], np.float32).reshape(-1, self._dim)
        weights = [seed.exponential(size=self._dim) * (seed.random(self._dim) < 0.4) for seed in seeds]
        sparse = csr_matrix(np.array(weights, np.float32).reshape(-1, self._dim))
        return Representation(dense, sparse).only(self._views)

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        remaining = iter(texts)
        while part := list(islice(remaining, 16)):
            yield self.represent_queries(part)

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        raise NotImplementedError

    def term_names(self, terms: Iterable[int]) -> list[str]:
        return [f"t{term}" for term in terms]


def documents() -> list[dict[str, Any]]:
    """Return forty documents with fields of all kinds, some missing, and one document without words."""
    rows = []
    for number, document in enumerate(toys.documents()):
        fields: dict[str, Any] = {
            "year": 1990 + number if number % 5 else str(1990 + number),
            "rating": number / 4,
            "added": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}",
            "tags": [["red"], ["red", "dark blue"], ["10", "b%_\\"], ['quo"te']][number % 4],
            "author": {"name": "Ada" if number % 3 else "Ö\n"},
            "reading time": number % 7,
            "account": 2**53 + number,
        }
        fields |= {"draft": number % 2 == 0} if number % 3 else {"draft": "true"} if number % 2 else {}
        rows.append({**document, "id": document["_id"], "source": document["doc_id"], **fields})
    return [*rows, {"id": "empty", "title": "", "text": "..."}]


FILTERS = [
    "year == 1993",
    "year == '1995'",
    "year != 1993",
    "year >= 2005 and year < 2020.5",
    "not (year >= 2005)",
    "2000 < year <= 2010 or rating == 9.75",
    "rating > 3.25",
    "rating == 2",
    "added >= '2026-06-15'",
    "added < '2026-03' and not draft",
    "not added < '2026-03'",
    "added.startswith('2026-1')",
    "not added.startswith('2026-1')",
    "'red' in tags",
    "'red' not in tags",
    "tags in ('dark blue', '10')",
    "tags == 10",
    "tags > 'r'",
    "tags.startswith('dark')",
    "tags.startswith('b%_')",
    "tags == 'b%_\\\\'",
    "tags == 'quo\"te'",
    "draft",
    "not draft",
    "draft == False",
    "draft == None",
    "draft != None and year > 1995",
    "author.name == 'Ada'",
    "author.name == 'Ö\\n'",
    "author == None",
    "field('reading time') < 3",
    "id == 'river-history'",
    "id.startswith('river')",
    "source == 'river' and position >= 1",
    "position == None",
    "position < 2 or not (source == 'comet' or draft)",
    "account == 9007199254740993",
    "year == None or not (tags != 'red' and rating <= 4)",
]
"""Filters with every comparison of every kind of value."""
