"""A retriever: text in, hits out. It joins encoders and indexes, which do not know each other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encloze import progress, recipe
from encloze.data.corpus import Corpus
from encloze.data.records import Document, Hit, Query, Representation, Run
from encloze.data.runs import best
from encloze.encoders.base import Encoder, Reranker, load_encoder, load_reranker
from encloze.errors import CheckpointError, RecipeError, StaleIndexError
from encloze.family import nearest
from encloze.retrieval.index_folder import CARD, DOCUMENTS, FORM, check_index, check_model, model_location
from encloze.retrieval.reranking import rerank
from encloze.retrieval.views import CandidatePool, View, default_fusion
from encloze.search.fusions.base import Fusion
from encloze.search.indexes.base import Index
from encloze.storage.json_files import read_json

_QUERIES_AT_ONCE = 256


class Retriever:
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
        self.corpus, self.views, self.fusion = corpus, list(views), fusion or default_fusion(views)
        try:
            self.fusion.check(len(self.views))
        except ValueError as error:
            raise RecipeError("the search", [("fusion", str(error))]) from error

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        views: Sequence[str] = (),
        fusion: Fusion | None = None,
        model: str | None = None,
        precision: str = "auto",
        reranker: str | None = None,
        rerank_depth: int = 50,
    ) -> Retriever:
        """The searcher of an index folder, with the model it was built by (or ``model``, if that is the same one).

        ``views`` names the views to ask, all where it is empty; ``fusion`` is the usual one where none is given. Raises
        CheckpointError for a folder that is no index or lacks a view, StaleIndexError where the model is another.
        """
        check_index(folder)
        card = read_json(folder / CARD)
        if card["encloze"] != FORM:
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
                name = model or model_location(entry, folder)
                encoder = loaded.get(name) or load_encoder(name, precision)
                loaded[name] = encoder
                check_model(folder, entry, encoder)
            index = recipe.build(kind, settings, source=str(folder / CARD))
            opened.append(View(entry["name"], index.open(folder / entry["name"]), encoder))
        second = load_reranker(reranker, precision) if reranker else None
        return cls(Corpus(folder / DOCUMENTS), opened, fusion, second, rerank_depth)

    def search(self, query: str, k: int = 10, depth: int = 100) -> list[tuple[Document, Hit]]:
        """The best ``k`` documents for one query."""
        gathered = self.gather([query], self._wide(max(k, depth)))[0]
        hits = {hit.id: hit for _, hit in self._hits(gathered, self.fusion)}
        if self.reranker:
            scores = {hit.id: hit.score for hit in hits.values()}
            run = rerank({"": scores}, {"": query}, self.corpus, self.reranker, self.rerank_depth)
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
            run = rerank(run, words, self.corpus, self.reranker, self.rerank_depth)
            run = {query: best(scores, depth) for query, scores in run.items()}
        return run, (time.perf_counter() - began) * 1000 / max(1, len(queries))

    def gather(self, queries: Sequence[str], depth: int = 100) -> list[CandidatePool]:
        """What each view finds for each query; several views score each other's finds too."""
        asked = self._asked(queries) if queries else []
        gathered: list[CandidatePool] = []
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

    def fused(
        self, queries: Sequence[Query], gathered: Sequence[CandidatePool], fusion: Fusion, depth: int = 100
    ) -> Run:
        """The run that a fusion makes of what was gathered for the queries."""
        return {
            query.id: {hit.id: hit.score for _, hit in self._hits(found, fusion)[:depth]}
            for query, found in zip(queries, gathered, strict=True)
        }

    def _gather(self, asked: list[Any], depth: int) -> list[CandidatePool]:
        found = [view.index.search(question, depth) for view, question in zip(self.views, asked, strict=True)]
        listed = [[numbers[numbers >= 0] for numbers in ranked.numbers] for ranked in found]  # by view and query
        if len(self.views) == 1:
            scores = [row[: len(numbers)] for row, numbers in zip(found[0].scores, listed[0], strict=True)]
            return [
                CandidatePool(n, s[None], np.arange(1.0, len(n) + 1)[None])
                for n, s in zip(listed[0], scores, strict=True)
            ]
        candidates = [np.unique(np.concatenate(of_query)) for of_query in zip(*listed, strict=True)]
        scored = [view.index.score(question, candidates) for view, question in zip(self.views, asked, strict=True)]
        gathered = []
        for row, numbers in enumerate(candidates):
            ranks = np.full((len(self.views), len(numbers)), np.inf)
            for view, of_view in enumerate(listed):
                ranks[view, np.searchsorted(numbers, of_view[row])] = np.arange(1, len(of_view[row]) + 1)
            gathered.append(CandidatePool(numbers, np.stack([scores[row] for scores in scored]), ranks))
        return gathered

    def _hits(self, found: CandidatePool, fusion: Fusion) -> list[tuple[int, Hit]]:
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


def _part(asked: Any, rows: slice) -> Any:
    """Some of the queries, as texts or as representations."""
    if not isinstance(asked, Representation):
        return asked[rows]
    return Representation(*(None if kind is None else kind[rows] for kind in asked))
