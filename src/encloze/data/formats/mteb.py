"""Retrieval tasks of MTEB by their names, fetched by the package mteb or read from a copy of what it would fetch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError, importable
from encloze.family import nearest
from encloze.storage.hashes import hash_of, hash_tree


@dataclass(frozen=True)
class Mteb(Format, name="mteb"):
    """A task of MTEB 2 (https://github.com/embeddings-benchmark/mteb), of its first split of evaluation.

    Where a query comes with an instruction, it is put behind the query, as MTEB does for models that have no place for
    one. Texts alone are read.
    """

    task: str
    """Its name there, as NFCorpus."""
    subset: str | None = None
    """One of its languages or parts, where it has several."""
    path: Path | None = None
    """A copy of the task's folder on the Hugging Face hub; without one it is fetched, and kept by datasets."""

    def documents(self, faults: Faults) -> Iterator[Document]:
        for row in self._data()["corpus"]:
            yield Document(row["id"], row.get("title") or "", row["text"])

    def queries(self, faults: Faults) -> Iterator[Query]:
        for row in self._data()["queries"]:
            yield Query(row["id"], asked(row))

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        if split not in self.splits():
            raise DataError(f"{self.place()} has no split {split!r}; {nearest(split, self.splits())}")
        for query, grades in sorted(self._data()["relevant_docs"].items()):  # mteb reads them in any order
            for document, grade in sorted(grades.items()):
                yield Judgment(query, document, int(grade))

    def splits(self) -> list[str]:
        return [str(self.known().metadata.eval_splits[0])]

    def place(self) -> str:
        return "/".join(["mteb:" + self.task, *([self.subset] if self.subset else [])])

    def inputs(self, name: str) -> dict[str, Path | str]:
        return {name: self.path or self.place()}

    def fingerprint(self) -> str:
        revision = "" if self.path else self.known().metadata.dataset.get("revision")
        return hash_of((super().fingerprint(), hash_tree(self.path) if self.path else revision))[:32]

    def known(self) -> Any:
        """The task as mteb describes it; raises DataError where it is none that is judged by texts found."""
        mteb = importable("mteb", "mteb")
        try:
            task = mteb.get_task(self.task)
        except KeyError as error:
            raise DataError(f"{self.place()}: {error.args[0]}") from None
        of_texts_found = isinstance(task, importable("mteb.abstasks.retrieval", "mteb").AbsTaskRetrieval)
        if not of_texts_found or "Reranking" in task.metadata.type:  # whose candidates are given
            raise DataError(
                f"{self.place()} is a task of {task.metadata.type}, and what is judged here is retrieval. "
                "MTEB itself runs the others, on any model folder that sentence-transformers reads"
            )
        if "text" not in task.metadata.modalities or len(task.metadata.modalities) > 1:
            raise DataError(f"{self.place()} is of {', '.join(task.metadata.modalities)}, not of texts alone")
        return task

    def _data(self) -> dict[str, Any]:
        subsets = list(self.known().metadata.hf_subsets)
        if self.subset is None and len(subsets) > 1:
            raise DataError(f"{self.place()} has several parts: write one behind it, of {', '.join(subsets)}")
        subset = self.subset or subsets[0]
        if subset not in subsets:
            raise DataError(f"{self.place()}: no part is called {subset!r}; {nearest(subset, subsets)}")
        return _read(self, subset)


def asked(row: dict[str, Any]) -> str:
    """The text of a query with its instruction."""
    return " ".join(part for part in (row["text"], row.get("instruction")) if part)


@lru_cache(maxsize=1)
def _read(format_: Mteb, subset: str) -> dict[str, Any]:
    """Corpus, queries and judgments of a task, as mteb holds them: tables that are mapped, not read."""
    task, split = format_.known(), format_.splits()[0]
    try:
        if format_.path:
            loaders = importable("mteb.abstasks.retrieval_dataset_loaders", "mteb")
            data = loaders.RetrievalDatasetLoader(str(format_.path), None, split=split, config=subset).load()
        else:
            task.load_data()
            data = task.dataset[subset][split]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{format_.place()} cannot be read: {error}. Where there is no network, name a copy of the folder "
            f"{task.metadata.dataset['path']} of the hub (benchmark.path)"
        ) from error
    return dict(data)
