"""A searcher: text in, hits out. It joins encoders and indexes, which do not know each other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encloze import progress
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Hit, Query, Ranked, Run
from encloze.encoders import Encoder, load_encoder
from encloze.errors import CheckpointError, RecipeError, StaleIndexError
from encloze.family import nearest
from encloze.folders import MANIFEST, check, read_json, write_json
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.reciprocal_rank import ReciprocalRank
from encloze.search.indexes.base import Index, OpenIndex
from encloze.settings import plain

_CARD = "index.json"
_DOCUMENTS = "documents.arrow"
_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class View:
    """One way to look at the documents: an index, and the encoder that asks it (none for one that reads text)."""

    name: str
    index: OpenIndex
    encoder: Encoder | None = None

    def asked(self, queries: Sequence[str]) -> Any:
        """The queries as the index reads them."""
        return self.encoder.encode_queries(queries) if self.encoder else queries


class Searcher:
    """Views of one collection, and the fusion of what they find."""

    def __init__(self, corpus: Corpus, views: Sequence[View], fusion: Fusion | None = None) -> None:
        self.corpus, self.views, self.fusion = corpus, list(views), fusion or ReciprocalRank()
        try:
            self.fusion.check(len(self.views))
        except ValueError as error:
            raise RecipeError("the search", [("fusion", str(error))]) from error

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        views: Sequence[str] = (),
        fusion: Fusion | None = None,
        model: str | None = None,
        precision: str = "auto",
    ) -> Searcher:
        """The searcher of an index folder, with the model it was built by (or ``model``, if that is the same one).

        ``views`` names the views to ask, all where it is empty. Raises CheckpointError for a folder that is no index
        or lacks a view, StaleIndexError where the model is another.
        """
        if not (folder / _CARD).is_file():
            raise CheckpointError(
                f"{folder} is no index: it has no {_CARD}. Build one: encloze index --output {folder}"
            )
        check(folder)
        entries = {entry["name"]: entry for entry in read_json(folder / _CARD)["views"]}
        if missing := [name for name in views if name not in entries]:
            raise CheckpointError(
                f"the index {folder} has no view {missing[0]!r}; {nearest(missing[0], list(entries))}"
            )
        opened, loaded = [], dict[str, Encoder]()
        for entry in [entries[name] for name in views or entries]:
            settings = dict(entry["settings"])
            kind = Index.member(settings.pop("type"))
            encoder = None
            if entry["model"]:
                name = model or entry["model"]
                encoder = loaded.get(name) or load_encoder(name, precision)
                loaded[name] = encoder
                _check_model(folder, entry, encoder)
            opened.append(View(entry["name"], restored(kind, settings).open(folder / entry["name"]), encoder))
        return cls(Corpus(folder / _DOCUMENTS), opened, fusion)

    def search(self, query: str, k: int = 10, depth: int = 100) -> list[tuple[Document, Hit]]:
        """The best ``k`` documents for one query."""
        ranking = self._rank([query], max(k, depth))[0][:k]
        return [(self.corpus[number], hit) for number, hit in ranking]

    def run(self, queries: Sequence[Query], depth: int = 100) -> tuple[Run, float]:
        """The rankings of many queries, and the milliseconds that one took."""
        run: Run = {}
        began = time.perf_counter()
        with progress.task("Searching", len(queries), "queries") as bar:
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                part = queries[start : start + _QUERIES_AT_ONCE]
                for query, ranking in zip(part, self._rank([query.text for query in part], depth), strict=True):
                    run[query.id] = {hit.id: hit.score for _, hit in ranking}
                bar.advance(len(part))
        return run, (time.perf_counter() - began) * 1000 / max(1, len(queries))

    def _rank(self, queries: Sequence[str], depth: int) -> list[list[tuple[int, Hit]]]:
        asked = [view.asked(queries) for view in self.views]
        found = [view.index.search(question, depth) for view, question in zip(self.views, asked, strict=True)]
        if len(self.views) == 1:
            return [self._hits(row, found[0]) for row in range(len(queries))]
        candidates = [
            np.unique(np.concatenate([ranked.numbers[row][ranked.numbers[row] >= 0] for ranked in found]))
            for row in range(len(queries))
        ]
        scores = [view.index.score(question, candidates) for view, question in zip(self.views, asked, strict=True)]
        return [
            self._fused(
                candidates[row], np.stack([of_view[row] for of_view in scores]), [r.numbers[row] for r in found], depth
            )
            for row in range(len(queries))
        ]

    def _hits(self, row: int, ranked: Ranked) -> list[tuple[int, Hit]]:
        pairs = zip(ranked.numbers[row].tolist(), ranked.scores[row].tolist(), strict=True)
        return [(number, Hit(self.corpus.ids[number], score)) for number, score in pairs if number >= 0]

    def _fused(
        self, candidates: np.ndarray, scores: np.ndarray, listed: list[np.ndarray], depth: int
    ) -> list[tuple[int, Hit]]:
        ranks = np.full(scores.shape, np.inf)
        for view, numbers in enumerate(listed):
            numbers = numbers[numbers >= 0]
            ranks[view, np.searchsorted(candidates, numbers)] = np.arange(1, len(numbers) + 1)
        fused = self.fusion.fuse(scores.astype(np.float64), ranks)
        names = [view.name for view in self.views]
        return [
            (
                int(candidates[at]),
                Hit(
                    self.corpus.ids[int(candidates[at])],
                    float(fused[at]),
                    dict(zip(names, scores[:, at].tolist(), strict=True)),
                ),
            )
            for at in np.argsort(-fused, kind="stable")[:depth]
        ]


def build_index(
    corpus: Corpus, indexes: Sequence[Index], encoder: Encoder | None, folder: Path
) -> list[dict[str, Any]]:
    """Write an index folder: the documents, and a view of them for each kind of index. Returns what it says of them."""
    shutil.copyfile(corpus.file, folder / _DOCUMENTS)
    views, representation = [], None
    for number, index in enumerate(indexes):
        name = index.name if [other.name for other in indexes].count(index.name) == 1 else f"{index.name}-{number}"
        (folder / name).mkdir()
        if index.reads == "text":
            with progress.task("Counting words", len(corpus), "documents") as bar:
                index.build(_advancing(corpus, bar), folder / name)
        elif encoder is not None:
            if representation is None:
                representation = encoder.encode_documents(corpus.texts(), len(corpus))
            index.build(representation, folder / name)
        reads_text = index.reads == "text" or encoder is None
        views.append(
            {
                "name": name,
                "settings": plain(index),
                "model": None if reads_text or encoder is None else _lasting(encoder.name),
                "fingerprint": None if reads_text or encoder is None else encoder.fingerprint,
                "width": None if reads_text or encoder is None else encoder.width,
            }
        )
    write_json(folder / _CARD, {"encloze": 1, "documents": len(corpus), "views": views})
    return views


def restored(kind: type[Any], settings: dict[str, Any]) -> Any:
    """A part from the plain values kept beside a result, which were valid when they were written."""
    from encloze.recipe import build

    return build(kind, settings, source="the saved settings")


def is_index(path: Path) -> bool:
    return (path / _CARD).is_file() and (path / MANIFEST).is_file()


def _advancing(corpus: Corpus, bar: progress.Task) -> Any:
    for text in corpus.texts():
        yield text
        bar.advance()


def _lasting(name: str) -> str:
    """A model's name that is good from any folder."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _check_model(folder: Path, entry: dict[str, Any], encoder: Encoder) -> None:
    if encoder.fingerprint != entry["fingerprint"]:
        raise StaleIndexError(
            f"the index {folder} was built by another model: {entry['model']} ({entry['fingerprint']}, "
            f"{entry['width']} wide), and {encoder.name} is {encoder.fingerprint}, {encoder.width} wide. "
            f"Build it again: encloze index --model {encoder.name} --output NEW_FOLDER ..."
        )
