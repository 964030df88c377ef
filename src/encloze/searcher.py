"""A searcher: text in, hits out. It joins encoders and indexes, which do not know each other."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encloze import progress, recipe
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Hit, Judgments, Query, Representation, Run
from encloze.data.runs import best
from encloze.encoders import Encoder, Reranker, Scorer, load_encoder, load_reranker
from encloze.encodings import documents_in_parts
from encloze.errors import CheckpointError, RecipeError, StaleIndexError
from encloze.evaluation.measures import measure
from encloze.family import nearest
from encloze.folders import check, full_disk_explained, read_json, write_json
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.reciprocal_rank import ReciprocalRank
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.base import Builder, Index, OpenIndex
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.settings import plain

_CARD = "index.json"
_FORM = 2  # of the files of an index; 1 was FAISS's and bm25s's own
_DOCUMENTS = "documents.arrow"
_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class View:
    """One way to look at the documents: an index, and the encoder that asks it (none for one that reads text)."""

    name: str
    index: OpenIndex
    encoder: Encoder | None = None

    @property
    def weight(self) -> float:
        """What it counts in its encoder's own similarity."""
        return float(getattr(self.encoder.similarity, self.index.reads)) if self.encoder else 1.0


class Searcher:
    """Views of one collection, and the fusion of what they find."""

    def __init__(
        self,
        corpus: Corpus,
        views: Sequence[View],
        fusion: Fusion | None = None,
        reranker: Reranker | None = None,
        rerank_depth: int = 50,
    ) -> None:
        """``reranker`` scores the first ``rerank_depth`` documents that are found anew."""
        self.reranker, self.rerank_depth = reranker, rerank_depth
        self.corpus, self.views, self.fusion = corpus, list(views), fusion or usual_fusion(views)
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
        reranker: str | None = None,
        rerank_depth: int = 50,
    ) -> Searcher:
        """The searcher of an index folder, with the model it was built by (or ``model``, if that is the same one).

        ``views`` names the views to ask, all where it is empty; ``fusion`` is the usual one where none is given. Raises
        CheckpointError for a folder that is no index or lacks a view, StaleIndexError where the model is another.
        """
        check_index(folder)
        card = read_json(folder / _CARD)
        if card["encloze"] != _FORM:
            raise StaleIndexError(f"the index {folder} was built by another version of encloze. Build it again")
        entries = {entry["name"]: entry for entry in card["views"]}
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
                name = model or _found(entry, folder)
                encoder = loaded.get(name) or load_encoder(name, precision)
                loaded[name] = encoder
                _check_model(folder, entry, encoder)
            index = recipe.build(kind, settings, source=str(folder / _CARD))
            opened.append(View(entry["name"], index.open(folder / entry["name"]), encoder))
        second = load_reranker(reranker, precision) if reranker else None
        return cls(Corpus(folder / _DOCUMENTS), opened, fusion, second, rerank_depth)

    def search(self, query: str, k: int = 10, depth: int = 100) -> list[tuple[Document, Hit]]:
        """The best ``k`` documents for one query."""
        gathered = self.gather([query], self._wide(max(k, depth)))[0]
        hits = {hit.id: hit for _, hit in self._hits(gathered, self.fusion)}
        if self.reranker:
            scores = {hit.id: hit.score for hit in hits.values()}
            run = reranked({"": scores}, {"": query}, self.corpus, self.reranker, self.rerank_depth)
            again = best(run[""], len(run[""]))
            parts = {id_: {"found": scores[id_], **hits[id_].parts} for id_ in again}
            if self.reranker.calibration:
                first = list(again)[: self.rerank_depth]
                likely = self.reranker.calibration(np.array([again[id_] for id_ in first])).tolist()
                parts |= {id_: {"probability": p, **parts[id_]} for id_, p in zip(first, likely, strict=True)}
            hits = {id_: Hit(id_, score, parts[id_]) for id_, score in again.items()}
        return [(self.corpus[self.corpus.number_of[id_]], hits[id_]) for id_ in list(hits)[:k]]

    def run(self, queries: Sequence[Query], depth: int = 100) -> tuple[Run, float]:
        """The rankings of many queries, and the milliseconds that one took."""
        began = time.perf_counter()
        wide = self._wide(depth)
        run = self.fused(queries, self.gather([query.text for query in queries], wide), self.fusion, wide)
        if self.reranker:
            words = {query.id: query.text for query in queries}
            run = reranked(run, words, self.corpus, self.reranker, self.rerank_depth)
            run = {query: best(scores, depth) for query, scores in run.items()}
        return run, (time.perf_counter() - began) * 1000 / max(1, len(queries))

    def gather(self, queries: Sequence[str], depth: int = 100) -> list[Gathered]:
        """What each view finds for each query; several views score each other's finds too."""
        asked = self._asked(queries) if queries else []
        gathered: list[Gathered] = []
        with progress.task("Searching", len(queries), "queries") as bar:
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                part = [_part(question, slice(start, start + _QUERIES_AT_ONCE)) for question in asked]
                gathered += self._gather(part, depth)
                bar.advance(len(gathered) - start)
        return gathered

    def _wide(self, depth: int) -> int:
        """How many documents a view finds, so that there are enough for the re-ranker."""
        return max(depth, self.rerank_depth) if self.reranker else depth

    def _asked(self, queries: Sequence[str]) -> list[Any]:
        """The queries as each view reads them; an encoder reads them once, whatever the number of its views."""
        encoders = {id(view.encoder): view.encoder for view in self.views if view.encoder}
        encoded = {key: encoder.encode_queries(queries) for key, encoder in encoders.items()}
        return [encoded.get(id(view.encoder), queries) for view in self.views]

    def fused(self, queries: Sequence[Query], gathered: Sequence[Gathered], fusion: Fusion, depth: int = 100) -> Run:
        """The run that a fusion makes of what was gathered for the queries."""
        return {
            query.id: {hit.id: hit.score for _, hit in self._hits(found, fusion)[:depth]}
            for query, found in zip(queries, gathered, strict=True)
        }

    def _gather(self, asked: list[Any], depth: int) -> list[Gathered]:
        found = [view.index.search(question, depth) for view, question in zip(self.views, asked, strict=True)]
        listed = [[numbers[numbers >= 0] for numbers in ranked.numbers] for ranked in found]  # by view and query
        if len(self.views) == 1:
            scores = [row[: len(numbers)] for row, numbers in zip(found[0].scores, listed[0], strict=True)]
            return [
                Gathered(n, s[None], np.arange(1.0, len(n) + 1)[None]) for n, s in zip(listed[0], scores, strict=True)
            ]
        candidates = [np.unique(np.concatenate(of_query)) for of_query in zip(*listed, strict=True)]
        scored = [view.index.score(question, candidates) for view, question in zip(self.views, asked, strict=True)]
        gathered = []
        for row, numbers in enumerate(candidates):
            ranks = np.full((len(self.views), len(numbers)), np.inf)
            for view, of_view in enumerate(listed):
                ranks[view, np.searchsorted(numbers, of_view[row])] = np.arange(1, len(of_view[row]) + 1)
            gathered.append(Gathered(numbers, np.stack([scores[row] for scores in scored]), ranks))
        return gathered

    def _hits(self, found: Gathered, fusion: Fusion) -> list[tuple[int, Hit]]:
        """Document numbers with their hits, best first."""
        ids, names = self.corpus.ids, [view.name for view in self.views]
        if len(names) == 1:
            pairs = zip(found.numbers.tolist(), found.scores[0].tolist(), strict=True)
            return [(number, Hit(ids[number], score)) for number, score in pairs]
        fused = fusion.fuse(found.scores.astype(np.float64), found.ranks)
        order = np.argsort(-fused, kind="stable")
        parts = [dict(zip(names, column, strict=True)) for column in found.scores.T[order].tolist()]
        triples = zip(found.numbers[order].tolist(), fused[order].tolist(), parts, strict=True)
        return [(number, Hit(ids[number], score, of_views)) for number, score, of_views in triples]


def reranked(run: Run, words: Mapping[str, str], corpus: Corpus, reranker: Scorer, depth: int) -> Run:
    """A run whose first ``depth`` documents of each query are scored anew by a re-ranker; the others come after them.

    ``words`` gives the text of each query.
    """
    first = {query: list(best(scores, depth)) for query, scores in run.items()}
    asked = [(query, document) for query, documents in first.items() for document in documents]
    texts = corpus.texts([corpus.number_of[document] for _, document in asked])
    scores = reranker.score([(words[query], text) for (query, _), text in zip(asked, texts, strict=True)])
    made: Run = {query: {} for query in run}
    for (query, document), score in zip(asked, scores.tolist(), strict=True):
        made[query][document] = score
    for query, found in made.items():
        lowest = min(found.values(), default=0.0)
        rest = [document for document in best(run[query], len(run[query])) if document not in found]
        found.update({document: lowest - place for place, document in enumerate(rest, 1)})
    return made


def exact_indexes(encoder: Encoder) -> tuple[Index, ...]:
    """An index that approximates nothing for each view that an encoder makes."""
    kinds = {"dense": Flat(), "sparse": Inverted()}
    return tuple(kinds[view] for view in encoder.views)


def usual_fusion(views: Sequence[View]) -> Fusion:
    """The weighted sum of one model's views, as it was trained to score; reciprocal rank for anything else."""
    encoders = {id(view.encoder) for view in views}
    if len(encoders) == 1 and all(view.encoder for view in views):
        return Weighted(tuple(view.weight for view in views), scale="none")
    return ReciprocalRank()


class Gathered(NamedTuple):
    """What the views say of one query's candidates. Shapes: views, candidates."""

    numbers: np.ndarray  # int64, candidates: document numbers
    scores: np.ndarray  # float32, views x candidates
    ranks: np.ndarray  # float64, views x candidates: from 1, infinite where a view did not list a candidate


def tuned_fusion(searcher: Searcher, queries: Sequence[Query], judgments: Judgments) -> Weighted:
    """The weighted fusion of two views or more with the highest nDCG@10 on judged queries.

    Of two views 19 weights are tried, in steps of 0.05; of three 36, in steps of 0.1.
    """
    count = len(searcher.views)
    if count < 2:
        raise RecipeError("the search", [("tune_on", "weights are chosen for two views or more, and there is one")])
    gathered = searcher.gather([query.text for query in queries])
    fusions = [Weighted(weights) for weights in _weights(count, 20 if count == 2 else 10)]
    values = [
        measure(searcher.fused(queries, gathered, fusion, 10), judgments, ["nDCG@10"])["nDCG@10"].mean()
        for fusion in progress.track(fusions, "Tuning the fusion", len(fusions), "weights")
    ]
    return fusions[int(np.argmax(values))]


def _weights(count: int, steps: int) -> Iterator[tuple[float, ...]]:
    """All ways to give ``count`` views weights above 0 whose sum is 1, in so many steps."""
    for cuts in itertools.combinations(range(1, steps), count - 1):
        yield tuple(round((end - begin) / steps, 2) for begin, end in itertools.pairwise([0, *cuts, steps]))


def build_index(
    corpus: Corpus, indexes: Sequence[Index], encoder: Encoder | None, folder: Path
) -> list[dict[str, Any]]:
    """Write an index folder: the documents, and a view of them for each kind of index. Returns what it says of them."""
    for index in indexes:
        if index.reads != "text" and (encoder is None or index.reads not in encoder.views):
            whose = f"and {encoder.name} makes none" if encoder else "which an encoder makes: give a model"
            raise RecipeError("the recipe", [("indexes", f"{index.name} is built from {index.reads} views, {whose}")])
    shutil.copyfile(corpus.file, folder / _DOCUMENTS)
    names = [index.name for index in indexes]
    unique = [name if names.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(names)]
    build_views(corpus, dict(zip(unique, indexes, strict=True)), encoder, folder)
    views = [
        {"name": name, "settings": plain(index), **_model_of(encoder if index.reads != "text" else None, index, folder)}
        for name, index in zip(unique, indexes, strict=True)
    ]
    write_json(folder / _CARD, {"encloze": _FORM, "documents": len(corpus), "views": views})
    return views


def build_views(corpus: Corpus, indexes: Mapping[str, Index], encoder: Encoder | None, folder: Path) -> None:
    """Write an index of each name into ``folder``; every document is read, and encoded, once for all of them."""
    with full_disk_explained(folder):
        _build_views(corpus, indexes, encoder, folder)


def _build_views(corpus: Corpus, indexes: Mapping[str, Index], encoder: Encoder | None, folder: Path) -> None:
    builders = {index.reads: list[Builder]() for index in indexes.values()}
    for name, index in indexes.items():
        (folder / name).mkdir()
        builders[index.reads].append(index.builder(folder / name))
    for of_text in builders.pop("text", []):
        of_text.add(progress.track(corpus.texts(), "Counting words", len(corpus), "documents"))
        of_text.finish()
    of_views = [builder for some in builders.values() for builder in some]
    if not of_views or encoder is None:
        return
    for part in documents_in_parts(encoder, corpus):
        for builder in of_views:
            builder.add(part)
    for builder in of_views:
        builder.finish()


def check_index(folder: Path) -> None:
    """Raise CheckpointError where a folder is no index, or is damaged."""
    if not is_index(folder):
        raise CheckpointError(f"{folder} is no index: it has no {_CARD}. Build one: encloze index --output {folder}")
    check(folder)


def view_names(folder: Path) -> tuple[str, ...]:
    """The names of an index's views."""
    return tuple(entry["name"] for entry in read_json(folder / _CARD)["views"])


def is_index(path: Path) -> bool:
    """Whether a folder is an index, be it whole or damaged."""
    return (path / _CARD).is_file()


def _part(asked: Any, rows: slice) -> Any:
    """Some of the queries, as texts or as representations."""
    if not isinstance(asked, Representation):
        return asked[rows]
    return Representation(*(None if kind is None else kind[rows] for kind in asked))


def _model_of(encoder: Encoder | None, index: Index, folder: Path) -> dict[str, Any]:
    """What the card of an index says of the encoder that a view was made by: its name is good from any folder.

    A model folder is told by its way from the index, too, so that both may be moved together.
    """
    if encoder is None:
        return {"model": None, "fingerprint": None, "width": None}
    said = {"model": encoder.name, "fingerprint": encoder.fingerprint, "width": encoder.views[index.reads]}
    if (place := Path(encoder.name)).exists():
        beside = os.path.relpath(place.resolve(), folder.resolve())
        said |= {"model": str(place.resolve()), "beside": beside}
    return said


def _found(entry: dict[str, Any], folder: Path) -> str:
    """The model of a view: where it was, or else beside the index."""
    name, beside = str(entry["model"]), entry.get("beside")
    moved = beside is not None and not Path(name).exists() and (folder / beside).exists()
    return str((folder / beside).resolve()) if moved and beside else name


def _check_model(folder: Path, entry: dict[str, Any], encoder: Encoder) -> None:
    if encoder.fingerprint != entry["fingerprint"]:
        made = " and ".join(map(str, encoder.views.values()))
        raise StaleIndexError(
            f"the index {folder} was built by another model: {entry['model']} ({entry['fingerprint']}, "
            f"{entry['width']} wide), and {encoder.name} is {encoder.fingerprint}, {made} wide. "
            f"Build it again: encloze index --model {encoder.name} --output NEW_FOLDER ..."
        )
