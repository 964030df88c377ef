"""Retrievers, which search one document collection with encoders, indexes, fusion and re-ranking."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.filters import Filter
from encloze.data.records import Query, Run
from encloze.data.runs import top_documents
from encloze.data.text_arguments import strings
from encloze.encoders.base import Encoder, Precision, Reranker, load_reranker
from encloze.errors import RecipeError
from encloze.retrieval.answer_threshold import COMPARED
from encloze.retrieval.arguments import check_fusion, check_fusion_choice, check_reranking, check_search
from encloze.retrieval.candidates import FUSION_DEPTH, find_candidates, fused_run, of_enough_sources
from encloze.retrieval.engine_building import IndexTarget
from encloze.retrieval.index_building import exact_indexes
from encloze.retrieval.index_folder import read_consistently, stored_fusion
from encloze.retrieval.index_state import IndexState
from encloze.retrieval.index_writing import write_index, write_index_folder
from encloze.retrieval.opened_index import FilterLike, OpenedIndex
from encloze.retrieval.opening import EncoderOf, encoder_finder, loaded_encoder, open_contents
from encloze.retrieval.ranked_hits import Aggregation, completed, explained, hits_needed, hits_of, reranked_hits
from encloze.retrieval.reranking import rerank, score_top
from encloze.retrieval.results import BatchHits, Hits
from encloze.retrieval.views import View, default_fusion, without_weightless
from encloze.search.engines.base import Engine
from encloze.search.fusions.base import Fusion
from encloze.search.indexes.base import Index
from encloze.search.segment import Opened
from encloze.settings import plain
from encloze.storage.cache import temporary_folder
from encloze.storage.manifest import write_manifest


class Retriever(OpenedIndex):
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
        super().__init__(corpus, views, folder)
        self.fusion = fusion or default_fusion(views)
        self.reranker, self.rerank_depth, self.rerank_weight = reranker, rerank_depth, rerank_weight
        self._names: tuple[str, ...] = ()  # of the views and the fusion that the user has chosen; ``_open`` sets them
        self._chosen: Fusion | None = None
        check_fusion(self.fusion, len(self.views))
        self.views, self.fusion = without_weightless(self.views, self.fusion)
        check_reranking(reranker, rerank_depth, rerank_weight)

    @classmethod
    def build(
        cls,
        corpus: Any,
        encoder: Encoder | str | Path | None = None,
        *,
        indexes: Sequence[str | Mapping[str, Any] | Index] = (),
        output: str | Path | None = None,
        engine: Engine | str | Mapping[str, Any] | None = None,
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
                or as objects. By default an index for each representation of the encoder: ``flat`` for embeddings
                (``hnsw``, which is approximate, from 200,000 documents on), ``inverted`` for term weights.
            output: The index folder to write, for ``Retriever.load``. Without it, the index is in a temporary folder
                that is removed when the retriever is deleted, which suits small collections.
            engine: Search engine that stores and searches the documents, such as ``"milvus"``. It needs ``output``.
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
        used: Engine | None = recipe.coerce(Engine | None, engine, source=source, name="engine")
        if used and target is None:
            raise RecipeError(source, [("output", "an index in a search engine needs an index folder. Give output")])
        documents = Corpus.load(corpus)
        loaded = loaded_encoder(encoder, device, precision)
        check_fusion_choice(fused, tune_on, len(kinds or (exact_indexes(loaded) if loaded else ())), source)
        close = contextlib.ExitStack()
        if target is None:
            target = close.enter_context(temporary_folder()) / "retriever"  # a system's name in tables
            target.mkdir()
            write_index(target, documents, kinds, loaded, fused, tune_on)
            write_manifest(target)
        else:
            settings = {"indexes": plain(kinds), "precision": precision, "engine": plain(used)}
            write_index_folder(IndexTarget(used, target, overwrite), documents, kinds, loaded, fused, tune_on, settings)
        retriever = cls._open(target, encoder_finder(target, loaded, device, precision))
        if output is None:
            retriever.corpus = documents  # it may outlive the retriever
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
        if isinstance(reranker, (str, Path)):
            reranker = load_reranker(str(reranker), precision, device)
        find = encoder_finder(path, encoder, device, precision)
        return cls._open(path, find, names, fused, (reranker, rerank_depth, rerank_weight))

    @classmethod
    def _open(
        cls,
        folder: Path,
        encoder_of: EncoderOf,
        names: Sequence[str] = (),
        fusion: Fusion | None = None,
        reranking: tuple[Any, int, float] = (None, 50, 1.0),
        known: Mapping[str, Opened] | None = None,
    ) -> Retriever:
        """Return a retriever over the current state of an index folder. ``known`` is what was opened before."""
        opened = {name: dict(of_view) for name, of_view in (known or {}).items()}
        reranker, depth, weight = reranking

        def read(state: IndexState, version: tuple[int, ...]) -> Retriever:
            documents, views, fields = open_contents(folder, names, encoder_of, state, opened)
            used = fusion or stored_fusion(folder, names).fusion
            retriever = cls(documents, views, used, reranker, depth, folder, weight)
            retriever._set_opened(fields, version, encoder_of, opened, state.answer_threshold)
            retriever._names, retriever._chosen = tuple(names), fusion
            return retriever

        return read_consistently(folder, read)

    def _opened_again(self) -> Retriever:
        assert self.folder is not None  # the caller checks
        reranking = self.reranker, self.rerank_depth, self.rerank_weight
        return self._open(self.folder, self._encoder_of, self._names, self._chosen, reranking, self._opened)

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        queries: str,
        k: int = 10,
        depth: int = 100,
        *,
        filter: FilterLike | None = None,
        explain: bool = False,
        passage_aggregation: Aggregation = "none",
        diversity: float = 0.0,
    ) -> Hits: ...
    @overload
    def search(
        self,
        queries: Sequence[str],
        k: int = 10,
        depth: int = 100,
        *,
        filter: FilterLike | None = None,
        explain: bool = False,
        passage_aggregation: Aggregation = "none",
        diversity: float = 0.0,
    ) -> BatchHits: ...
    def search(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        depth: int = 100,
        *,
        filter: FilterLike | None = None,  # noqa: A002 - as in other libraries
        explain: bool = False,
        passage_aggregation: Aggregation = "none",
        diversity: float = 0.0,
    ) -> Hits | BatchHits:
        """Search for one query or for many.

        Args:
            queries: One query as a string, or a list of queries.
            k: Number of hits for each query.
            depth: Number of candidates that each index retrieves, before fusion and re-ranking; at least ``k``, and at
                least 100 if the scores of several indexes are fused.
            filter: Condition on the fields of the documents: an expression such as ``"year >= 2020 and not draft"``, a
                mapping such as ``{"language": ["he", "en"]}``, or a ``Filter``. Only documents that pass it are
                searched, so ``k`` hits are returned whenever ``k`` of them match the query.
            explain: Whether each hit has an ``Explanation``: what each index and each term of the query contributes.
            passage_aggregation: ``none`` returns documents. If they are passages of longer texts (``source``), ``max``
                returns only the best passage of each text, and ``sum`` does so after the scores of the found passages
                of each text are added.
            diversity: From 0 to 1; above 0, hits that repeat what better ones say are replaced by others among the 100
                best, by maximal marginal relevance (see ``diversify``).

        Returns:
            The hits of a query, best first: fewer than ``k`` if fewer documents match. For a list of queries, a list
            with the hits of each query. If the command ``threshold`` has been run, their attribute ``answer`` says
            whether the collection probably answers the query.

        Raises:
            RecipeError: ``queries`` is neither a string nor a list of strings, ``k`` is less than 1, or the filter is
                invalid, or names a field that no document has.
        """
        if isinstance(queries, str):
            options: dict[str, Any] = {"filter": filter, "explain": explain, "diversity": diversity}
            return self.search([queries], k, depth, passage_aggregation=passage_aggregation, **options)[0]
        texts = strings(queries, "search", "queries")
        check_search(k, depth, passage_aggregation, diversity)
        self._warn_if_replaced()
        allowed = None if filter is None else self._select(Filter.of(filter))
        pools = find_candidates(self.views, texts, self._candidate_depth(max(k, depth)), self.fusion, k, allowed)
        if passage_aggregation != "none":
            pools = of_enough_sources(pools, self.views, texts, self.corpus, self.fusion, k, allowed)
        count = None if self.reranker else hits_needed(k, passage_aggregation, diversity)
        ranked = [hits_of(pool, self.fusion, self.corpus.ids, self.views, count) for pool in pools]
        found = [hits for hits, _ in ranked]
        if self.reranker:
            found = reranked_hits(texts, found, self.corpus, self.reranker, self.rerank_depth, self.rerank_weight)
        results = BatchHits()
        answers = self._answers(pools)
        for text, hits, (_, places), pool, answer in zip(texts, found, ranked, pools, answers, strict=True):
            best = completed(hits, places, self.corpus, k, passage_aggregation, diversity)
            if explain and best:
                best = explained(best, text, self.views, self.fusion, pool, places)
            results.append(Hits(text, best, answer))
        return results

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

    def __repr__(self) -> str:
        views = ", ".join(view.name for view in self.views)
        return f"Retriever({len(self.corpus):,} documents, views: {views}, fusion: {self.fusion.summary()})"

    def _candidate_depth(self, depth: int) -> int:
        """Return the number of documents to retrieve from each index: ``depth``, or more if later steps need more."""
        fusion_depth = FUSION_DEPTH if len(self.views) > 1 else 1
        compared = COMPARED if self.answer_threshold else 1
        return max(depth, fusion_depth, compared, self.rerank_depth if self.reranker else 1)
