"""Retrieval tasks of MTEB, downloaded by the package mteb or read from a local copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from encloze.data.formats.base import Format
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError, importable
from encloze.family import nearest
from encloze.storage.hashes import hash_of, hash_tree


@dataclass(frozen=True)
class Mteb(Format, name="mteb"):
    """A text retrieval task of MTEB 2 (https://github.com/embeddings-benchmark/mteb).

    Its only split is the first evaluation split of the task. If a query has an instruction, it is appended to the
    query, as MTEB does for models that do not handle instructions separately.
    """

    task: str
    """Name of the task, such as NFCorpus."""
    subset: str | None = None
    """Subset of the task, such as a language. Required if the task has several subsets."""
    path: Path | None = None
    """Local copy of the task's data set. By default, the package datasets downloads the data set from the Hugging Face
    hub and caches it."""

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for row in self._data()["corpus"]:
            yield Document(row["id"], row.get("title") or "", row["text"])

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        for row in self._data()["queries"]:
            yield Query(row["id"], query_text(row))

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        if split not in self.splits():
            raise DataError(f"{self.location()} has no split {split!r}; {nearest(split, self.splits())}")
        for query, grades in sorted(self._data()["relevant_docs"].items()):  # mteb returns them in arbitrary order
            for document, grade in sorted(grades.items()):
                yield Judgment(query, document, int(grade))

    def splits(self) -> list[str]:
        return [str(self.load_task().metadata.eval_splits[0])]

    def location(self) -> str:
        return "/".join(["mteb:" + self.task, *([self.subset] if self.subset else [])])

    def inputs(self, name: str) -> dict[str, Path | str]:
        return {name: self.path or self.location()}

    def fingerprint(self) -> str:
        revision = "" if self.path else self.load_task().metadata.dataset.get("revision")
        return hash_of((super().fingerprint(), hash_tree(self.path) if self.path else revision))[:32]

    def load_task(self) -> Any:
        """Return the object of the package mteb for ``task``. Raises DataError if it is not a text retrieval task."""
        mteb = importable("mteb", "mteb")
        try:
            task = mteb.get_task(self.task)
        except KeyError as error:
            raise DataError(f"{self.location()}: {error.args[0]}") from None
        is_retrieval = isinstance(task, importable("mteb.abstasks.retrieval", "mteb").AbsTaskRetrieval)
        if not is_retrieval or "Reranking" in task.metadata.type:  # reranking tasks have fixed candidates
            raise DataError(
                f"{self.location()} is a {task.metadata.type} task, and only retrieval tasks are supported. Run other "
                "tasks with mteb itself, on any model folder that sentence-transformers loads"
            )
        if "text" not in task.metadata.modalities or len(task.metadata.modalities) > 1:
            modalities = ", ".join(task.metadata.modalities)
            raise DataError(f"{self.location()} has the modalities {modalities}, and only text is supported")
        return task

    def _data(self) -> dict[str, Any]:
        subsets = list(self.load_task().metadata.hf_subsets)
        if self.subset is None and len(subsets) > 1:
            raise DataError(f"{self.location()} has several subsets. Append one to the name: {', '.join(subsets)}")
        subset = self.subset or subsets[0]
        if subset not in subsets:
            raise DataError(f"{self.location()} has no subset {subset!r}; {nearest(subset, subsets)}")
        return _read(self, subset)


def query_text(row: dict[str, Any]) -> str:
    """Return the text of a query, followed by its instruction, if any."""
    return " ".join(part for part in (row["text"], row.get("instruction")) if part)


@lru_cache(maxsize=1)
def _read(format_: Mteb, subset: str) -> dict[str, Any]:
    """Return corpus, queries and judgments of one subset of a task, as the memory-mapped tables that mteb loads."""
    task, split = format_.load_task(), format_.splits()[0]
    try:
        if format_.path:
            loaders = importable("mteb.abstasks.retrieval_dataset_loaders", "mteb")
            data = loaders.RetrievalDatasetLoader(str(format_.path), None, split=split, config=subset).load()
        else:
            task.load_data()
            data = task.dataset[subset][split]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{format_.location()} cannot be read: {error}. Without network access, set benchmark.path to a "
            f"copy of the hub folder {task.metadata.dataset['path']}"
        ) from error
    return dict(data)
