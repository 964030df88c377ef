"""A system that searches an index folder and fuses the rankings of its indexes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encloze import progress
from encloze.data.dataset import DatasetSplit
from encloze.data.words import normalize_text
from encloze.errors import DataError
from encloze.retrieval.index_folder import check_index, stored_fusion, view_bytes, view_names
from encloze.retrieval.retriever import Retriever
from encloze.retrieval.tuning import choose_fusion
from encloze.retrieval.tuning_queries import named_tuning
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.weighted import Weighted
from encloze.storage.model_folders import size_of_weights
from encloze.systems.base import PreparedSystem, System


@dataclass(frozen=True)
class Index(System, name="index"):
    """An index folder, searched as ``encloze search`` does."""

    index: Path
    """Index folder to search, which ``encloze index`` wrote."""
    views: tuple[str, ...] = ()
    """Names of the indexes in the folder to search, such as flat or bm25; all by default."""
    fusion: Fusion | None = None
    """How the scores of several indexes are combined; by default as stored in the index folder."""
    tune_on: str | None = None
    """Split, other than the evaluated one, on which the weights of a weighted fusion are tuned by nDCG@10."""

    def __post_init__(self) -> None:
        if self.fusion and self.tune_on:
            raise ValueError("tune_on tunes the weights of a weighted fusion. Leave out fusion or tune_on")

    def inputs(self) -> dict[str, Path | str]:
        return {"index": self.index}

    @property
    def depends_on(self) -> tuple[str, ...]:
        return ("queries",)

    @property
    def tuned_on(self) -> str | None:
        return self.tune_on

    def default_title(self) -> str:
        name = f"{self.index.name} {' + '.join(self.views)}".rstrip()
        fusion = self.fusion.summary() if self.fusion else f"tuned on {self.tune_on}" if self.tune_on else ""
        return ", ".join(filter(None, (name, fusion)))

    def per_view(self) -> tuple[System, ...]:
        views = self.views or view_names(self.index)
        if len(views) < 2:
            return (self,)
        titles = {view: self.title and f"{self.title} {view}" for view in views}
        return (*(Index(self.index, (view,), title=title) for view, title in titles.items()), self)

    def check_files(self) -> None:
        check_index(self.index)

    @contextmanager
    def prepare(self, dataset: DatasetSplit) -> Iterator[PreparedSystem]:
        fusion = Weighted() if self.tune_on else self.fusion  # for tuning, all views are searched
        retriever = Retriever.load(self.index, views=self.views, fusion=fusion)
        checks = (self._missing_documents, self._different_texts) if dataset.judgments else ()
        notes = [check(retriever, dataset) for check in checks]
        if self.tune_on:
            chosen = choose_fusion(retriever.views, retriever.corpus, tuning=named_tuning(dataset, self.tune_on))
            retriever = Retriever(retriever.corpus, retriever.views, chosen.fusion)
            notes.append(chosen.note)
        elif not self.fusion:
            stored = stored_fusion(self.index, self.views)
            notes.append(stored.note)
            if (stored.split, stored.dataset) == (dataset.split, str(dataset.format.location())):
                progress.warn(
                    f"the fusion weights of {self.index} were tuned on the evaluated split {dataset.split}, so its "
                    "values are too high. Evaluate on another split, or set fusion"
                )
        models = {view.encoder.name for view in retriever.views if view.encoder}
        sizes = [size for view in retriever.views if (size := view_bytes(self.index, view.name)) is not None]
        yield PreparedSystem(
            run=retriever.run,
            note="; ".join(filter(None, notes)),
            index_bytes=sum(sizes) if sizes else None,
            model_bytes=sum(map(size_of_weights, models)) if models else None,
            corpus=retriever.corpus,
        )

    def _missing_documents(self, retriever: Retriever, dataset: DatasetSplit) -> str:
        """Return a note on the judged documents that the index lacks. Raises DataError if it lacks all of them."""
        judged = {document for grades in dataset.judgments.values() for document in grades}
        known = dataset.judgment_targets(retriever.corpus)
        if not judged & known:
            cause = "Was it built from another data set?"
            if not dataset.judgments_by_source and judged & retriever.corpus.sources:
                cause = "It contains passages of them: add --passage_aggregation max"
            raise DataError(f"the index {self.index} contains none of the {len(judged)} judged documents. {cause}")
        missing = len(judged - known)
        return f"the index lacks {missing:,} judged documents and cannot retrieve them" if missing else ""

    def _different_texts(self, retriever: Retriever, dataset: DatasetSplit) -> str:
        """Return a note on relevant documents whose text in the index is not that in the data set, and warn of them.

        Such an index may contain the queries, as when their texts are titles that the data set removed from the
        documents. A data set without documents is not compared.
        """
        try:
            corpora = (retriever.corpus, dataset.corpus)
        except DataError:
            return ""
        relevant = {query: {d for d, grade in of.items() if grade > 0} for query, of in dataset.judgments.items()}
        known = set.union(*relevant.values()) & corpora[0].number_of.keys() & corpora[1].number_of.keys()
        shared = sorted(known if not dataset.judgments_by_source else ())
        texts = (corpus.texts([corpus.number_of[id_] for id_ in shared]) for corpus in corpora)
        different = {id_: pair for id_, *pair in zip(shared, *texts, strict=True) if pair[0] != pair[1]}
        if not different:
            return ""
        note = f"{len(different):,} of {len(shared):,} relevant documents have another text in the index"
        leaked = 0
        for query in dataset.queries:
            words = normalize_text(query.text)
            pairs = (map(normalize_text, different[id_]) for id_ in relevant[query.id] & different.keys())
            leaked += any(words in indexed and words not in original for indexed, original in pairs)
        if leaked:
            note += f", and {leaked:,} of {len(dataset.queries):,} queries are part of it: the values are too high"
        progress.warn(f"{self.index}: {note}. Build the index from the data set that is evaluated")
        return note
