"""Retrievers, which search one document collection with encoders, indexes, fusion and re-ranking."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from encloze import progress, recipe
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.records import Hit, Query, Run
from encloze.data.runs import top_documents
from encloze.data.text_arguments import strings
from encloze.encoders.base import Encoder, Precision, Reranker, load_encoder, load_reranker
from encloze.errors import RecipeError
from encloze.retrieval.arguments import check_count, check_fusion, check_fusion_choice, check_weight
from encloze.retrieval.candidates import FUSION_DEPTH, CandidatePool, find_candidates, fused_order, fused_run
from encloze.retrieval.index_folder import (
    build_index,
    check_model,
    exact_indexes,
    index_version,
    model_location,
    open_documents,
    open_view,
    stored_fusion,
    view_entries,
)
from encloze.retrieval.reranking import rerank, score_top
from encloze.retrieval.results import BatchHits, Hits
from encloze.retrieval.views import View, default_fusion, without_weightless
from encloze.search.fusions.base import Fusion
from encloze.search.indexes.base import Index
from encloze.settings import plain
from encloze.storage.atomic import atomic_folder
from encloze.storage.cache import temporary_folder
from encloze.storage.manifest import write_manifest
from encloze.storage.provenance import write_provenance


class Retriever:
    """Searches a collection with one or several indexes, their encoders, and optionally a re-ranker.

    Example:
        >>> corpus = Corpus.from_dicts([{"id": "1", "text": "Rivers flow into the sea."}])
        >>> retriever = Retriever.build(corpus, indexes=["bm25"])
        >>> [hit.id for hit in retriever.search("where do rivers end")]
        ['1']
        >>> len(retriever.search(["rivers", "violins"]))
        2

    Attributes:
        corpus: The documents.
        views: The searched indexes of the collection, each with the encoder of its queries.
        fusion: Combines the scores of several indexes.
        reranker: Re-ranks the top-ranked documents; None for no re-ranking.
        rerank_depth: Number of documents the re-ranker scores.
        folder: The index folder; None if the views were passed to the constructor.
        rerank_weight: Weight of the re-ranker's scores, from 0 to 1; with 1, they replace the scores of the views.
    """

    def __init__(
        self,
        corpus: Corpus,
        views: Sequence[View],
        fusion: Fusion | None = None,
        reranker: Reranker | None = None,
        rerank_depth: int = 50,
        folder: Path | None = None,
        rerank_weight: float = 1.0,
    ) -> None:
        """Create a retriever from opened indexes (``views``). The arguments are the attributes of the class.

        ``Retriever.build`` and ``Retriever.load`` also open the indexes.

        Raises:
            RecipeError: The number of fusion weights differs from the number of views, or another argument is invalid.
        """
        self.corpus, self.views, self.fusion = corpus, list(views), fusion or default_fusion(views)
        self.reranker, self.rerank_depth, self.rerank_weight = reranker, rerank_depth, rerank_weight
        self.folder = folder.absolute() if folder else None  # so that the working folder may change
        self._version = index_version(self.folder) if self.folder else ()
        check_fusion(self.fusion, len(self.views))
        self.views, self.fusion = without_weightless(self.views, self.fusion)
        check_count(rerank_depth, "rerank_depth")
        check_weight(rerank_weight, "rerank_weight")
        is_reranker = hasattr(reranker, "score") and hasattr(reranker, "calibration")
        if reranker is not None and (isinstance(reranker, type) or not is_reranker):
            message = f"expected a cross-encoder or the name of one, found {type(reranker).__name__}"
            raise RecipeError("the search", [("reranker", message)])

    @classmethod
    def build(
        cls,
        corpus: Any,
        encoder: Encoder | str | Path | None = None,
        *,
        indexes: Sequence[str | Mapping[str, Any] | Index] = (),
        output: str | Path | None = None,
        fusion: Fusion | str | Mapping[str, Any] | None = None,
        tune_on: DatasetSplit | None = None,
        device: str | None = None,
        precision: Precision = "auto",
        overwrite: bool = False,
    ) -> Retriever:
        """Build the indexes of a document collection, and return a retriever that searches them.

        Args:
            corpus: A ``Corpus``, or anything that ``Corpus.load`` opens.
            encoder: An ``Encoder``, or the folder or hub id of a model; None if all indexes are built from text.
            indexes: The indexes to build, by name (``["flat", "bm25"]``), as settings (``{"type": "bm25", "k1": 0.9}``)
                or as objects. By default an exact index for each representation (dense, sparse) of the encoder.
            output: The index folder to write, for ``Retriever.load``. Without it, the index is in a temporary folder
                that is removed when the retriever is deleted, which suits small collections.
            fusion: How the scores of several indexes are combined; see ``choose_fusion`` for the default.
            tune_on: Judged queries over the corpus, such as ``data.split("dev")``, on which the weights of the indexes
                are tuned.
            device: Device of the encoder, if ``encoder`` is a name or folder.
            precision: Precision of the encoder's matrix multiplications, if ``encoder`` is a name or folder.
            overwrite: Whether an index folder that exists may be replaced.

        Raises:
            RecipeError: An argument is invalid, or an index needs a representation that the encoder does not have.
            StorageError: The output exists, or the disk is full.
        """
        source = "Retriever.build"
        kinds: tuple[Index, ...] = recipe.coerce(tuple[Index, ...], indexes, source=source, name="indexes")
        fused: Fusion | None = recipe.coerce(Fusion | None, fusion, source=source, name="fusion")
        target: Path | None = recipe.coerce(Path | None, output, source=source, name="output")
        documents = Corpus.load(corpus)
        loaded = _loaded_encoder(encoder, device, precision)
        check_fusion_choice(fused, tune_on, len(kinds or (exact_indexes(loaded) if loaded else ())), source)
        close = contextlib.ExitStack()
        if target is None:
            target = close.enter_context(temporary_folder()) / "retriever"  # a system's name in tables
            target.mkdir()
            _write_index(target, documents, kinds, loaded, fused, tune_on)
            write_manifest(target)
        else:
            with atomic_folder(target, overwrite=overwrite) as staging:
                _write_index(staging, documents, kinds, loaded, fused, tune_on)
                name = loaded.name if loaded else None
                settings = {"output": str(target), "corpus": plain(documents.format), "model": name}
                text = recipe.dump_tree({"verb": "index", **settings, "indexes": plain(kinds), "precision": precision})
                write_provenance(staging, text, {**documents.inputs(), "model": name})
        views = [View(e["name"], open_view(target, e), loaded if e["model"] else None) for e in view_entries(target)]
        own = documents if output is None else open_documents(target)  # the corpus may outlive the retriever
        retriever = cls(own, views, stored_fusion(target).fusion, folder=target)
        weakref.finalize(retriever, close.close)
        return retriever

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        views: Sequence[str] = (),
        fusion: Fusion | str | Mapping[str, Any] | None = None,
        encoder: Encoder | str | Path | None = None,
        device: str | None = None,
        precision: Precision = "auto",
        reranker: Reranker | str | Path | None = None,
        rerank_depth: int = 50,
        rerank_weight: float = 1.0,
    ) -> Retriever:
        """Open an index folder, and return a retriever that searches it.

        Args:
            folder: The index folder.
            views: Names of the indexes in the folder to search, such as ``flat`` or ``bm25``; all by default.
            fusion: How the scores of several indexes are combined; by default as stored in the index folder.
            encoder: The model that built the index. Needed only if the model folder was moved; by default the model is
                loaded from its stored path.
            device: Device of the models that are loaded.
            precision: Precision of the matrix multiplications of these models.
            reranker: A cross-encoder, or its name, that re-ranks the top-ranked documents.
            rerank_depth: Number of documents that the re-ranker scores.
            rerank_weight: Weight of the re-ranker's scores, from 0 to 1. With 1, they replace the scores of the
                indexes. With a lower weight, both are normalized, and their weighted sum is used.

        Raises:
            RecipeError: An argument is invalid.
            CheckpointError: The folder is not an index folder, is damaged, or has no index with a name in ``views``.
            StaleIndexError: The encoder is not the one that built the index.
        """
        source = "Retriever.load"
        path: Path = recipe.coerce(Path, folder, source=source, name="folder")
        names: tuple[str, ...] = recipe.coerce(tuple[str, ...], views, source=source, name="views")
        fused: Fusion | None = recipe.coerce(Fusion | None, fusion, source=source, name="fusion")
        loaded, opened = dict[str, Encoder](), list[View]()
        for entry in view_entries(path, names):
            own = None
            if entry["model"]:
                name = str(model_location(path, entry) if encoder is None else encoder)
                own = loaded.get(name) or _loaded_encoder(encoder or name, device, precision)
                assert own is not None  # a name was given
                loaded[name] = own
                check_model(path, entry, own)
            opened.append(View(entry["name"], open_view(path, entry), own))
        if isinstance(reranker, (str, Path)):
            reranker = load_reranker(str(reranker), precision, device)
        fused = fused or stored_fusion(path, names).fusion
        return cls(open_documents(path), opened, fused, reranker, rerank_depth, path, rerank_weight)

    @overload
    def search(self, queries: str, k: int = 10, depth: int = 100) -> Hits: ...  # type: ignore[overload-overlap]
    @overload
    def search(self, queries: Sequence[str], k: int = 10, depth: int = 100) -> BatchHits: ...
    def search(self, queries: str | Sequence[str], k: int = 10, depth: int = 100) -> Hits | BatchHits:
        """Search for one query or for many.

        Args:
            queries: One query as a string, or a list of queries.
            k: Number of hits for each query.
            depth: Number of candidates that each index retrieves, before fusion and re-ranking; at least ``k``, and at
                least 100 if the scores of several indexes are fused.

        Returns:
            The hits of a query, best first: fewer than ``k`` if fewer documents match. For a list of queries, a list
            with the hits of each query.

        Raises:
            RecipeError: ``queries`` is neither a string nor a list of strings, or ``k`` is less than 1.
        """
        if isinstance(queries, str):
            return self.search([queries], k, depth)[0]
        texts = strings(queries, "search", "queries")
        check_count(k, "k")
        check_count(depth, "depth")
        self._warn_if_replaced()
        pools = find_candidates(self.views, texts, self._candidate_depth(max(k, depth)), self.fusion, k)
        found = [self._hits(pool) for pool in pools]
        if self.reranker:
            found = self._reranked(texts, found)
        return BatchHits(
            Hits(text, [hit._replace(document=self.corpus[self.corpus.number_of[hit.id]]) for hit in hits[:k]])
            for text, hits in zip(texts, found, strict=True)
        )

    def run(self, queries: Sequence[Query], depth: int = 100) -> tuple[Run, float]:
        """Rank the documents for many queries.

        Args:
            queries: The queries.
            depth: Number of documents for each query.

        Returns:
            The run (the scores of the ranked documents of each query), and the milliseconds per query, encoding
            included. Queries are processed in batches, so this is the inverse of throughput, not the latency of a
            single query.
        """
        self._warn_if_replaced()
        began = time.perf_counter()
        wide = self._candidate_depth(depth)
        pools = find_candidates(self.views, [query.text for query in queries], wide, self.fusion, depth)
        run = fused_run(queries, pools, self.corpus.ids, self.fusion, wide if self.reranker else depth)
        if self.reranker:
            texts = {query.id: query.text for query in queries}
            scored = score_top(run, texts, self.corpus, self.reranker, self.rerank_depth)
            run = rerank(run, scored, self.rerank_weight)
            run = {query: top_documents(scores, depth) for query, scores in run.items()}
        return run, (time.perf_counter() - began) * 1000 / max(1, len(queries))

    def __len__(self) -> int:
        return len(self.corpus)

    def __repr__(self) -> str:
        views = ", ".join(view.name for view in self.views)
        return f"Retriever({len(self.corpus):,} documents, views: {views}, fusion: {self.fusion.summary()})"

    def _warn_if_replaced(self) -> None:
        """Warn, once, if the index folder is no longer the one that was opened. Its files stay open until then."""
        if self.folder and (version := index_version(self.folder)) != self._version:
            self._version = version
            progress.warn(
                f"{self.folder} has been replaced or removed since it was opened, and this retriever searches the old "
                "documents. Load it again to search the new ones"
            )

    def _candidate_depth(self, depth: int) -> int:
        """Return the number of documents to retrieve from each index: ``depth``, or more if later steps need more."""
        fusion_depth = FUSION_DEPTH if len(self.views) > 1 else 1
        return max(depth, fusion_depth, self.rerank_depth if self.reranker else 1)

    def _hits(self, pool: CandidatePool) -> list[Hit]:
        """Return the hits of a query, best first, with the scores of each view if there are several."""
        ids, names = self.corpus.ids, [view.name for view in self.views]
        order, fused = fused_order(pool, self.fusion)
        hits = zip(pool.numbers[order].tolist(), fused[order].tolist(), pool.scores.T[order].tolist(), strict=True)
        if len(names) == 1:
            return [Hit(ids[number], score) for number, score, _ in hits]
        return [Hit(ids[number], score, dict(zip(names, parts, strict=True))) for number, score, parts in hits]

    def _reranked(self, queries: Sequence[str], found: list[list[Hit]]) -> list[list[Hit]]:
        """Return the re-ranked hits of each query. Their ``parts`` include the score before re-ranking."""
        assert self.reranker is not None  # the caller checks
        names = [str(number) for number in range(len(queries))]
        first: Run = {name: {hit.id: hit.score for hit in hits} for name, hits in zip(names, found, strict=True)}
        texts = dict(zip(names, queries, strict=True))
        of_reranker = score_top(first, texts, self.corpus, self.reranker, self.rerank_depth)
        run, reranked = rerank(first, of_reranker, self.rerank_weight), list[list[Hit]]()
        for name, hits in zip(names, found, strict=True):
            parts = {hit.id: {"found": hit.score, **hit.parts} for hit in hits}
            scores = top_documents(run[name], len(run[name]))
            if self.rerank_weight < 1:
                for id_, score in of_reranker[name].items():
                    parts[id_] = {"reranker": score, **parts[id_]}
            if self.reranker.calibration:
                raw = of_reranker[name]
                probabilities = self.reranker.calibration(np.array([*raw.values()])).tolist()
                for id_, probability in zip(raw, probabilities, strict=True):
                    parts[id_] = {"probability": probability, **parts[id_]}
            reranked.append([Hit(id_, score, parts[id_]) for id_, score in scores.items()])
        return reranked


def _write_index(
    folder: Path,
    corpus: Corpus,
    indexes: Sequence[Index],
    encoder: Encoder | None,
    fusion: Fusion | None,
    tuning: DatasetSplit | None,
) -> None:
    """Build the indexes in an existing empty folder, and store their fusion."""
    from encloze.retrieval.tuning import fit_index_fusion  # imports scipy, which searches do not need

    entries = build_index(corpus, indexes, encoder, folder)
    fit_index_fusion(folder, entries, corpus, encoder, fusion, tuning=tuning)


def _loaded_encoder(encoder: Any, device: str | None, precision: Precision) -> Encoder | None:
    """Return the encoder, which is loaded if it is given by name. Raise RecipeError for values of another type."""
    if isinstance(encoder, (str, Path)):
        return load_encoder(str(encoder), precision, device)
    if encoder is not None and (isinstance(encoder, type) or not hasattr(encoder, "represent_documents")):
        message = f"expected an Encoder or the name of one, found {type(encoder).__name__}"
        raise RecipeError("Retriever", [("encoder", message)])
    found: Encoder | None = encoder
    return found
