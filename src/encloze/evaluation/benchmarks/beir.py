"""BEIR: retrieval in other domains than a model was trained on, told in nDCG@10."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.beir import Beir as BeirLayout
from encloze.errors import DataError
from encloze.evaluation.benchmarks.base import Benchmark, BenchmarkRules


@dataclass(frozen=True)
class Beir(Benchmark, name="beir"):
    """One of BEIR's collections, as ``beir/scifact``; a document with the query's own id does not count.

    A folder holds corpus.jsonl, queries.jsonl and qrels/test.tsv, itself or in a folder named like the collection.
    Source: https://github.com/beir-cellar/beir (``ignore_identical_ids``).
    """

    collection: str = ""
    """Its name in BEIR, as scifact or cqadupstack/android."""

    def __post_init__(self) -> None:
        if not self.collection:
            raise ValueError("collection is not named: write it behind a slash, as in beir/scifact")

    def rules(self) -> BenchmarkRules:
        return BenchmarkRules(("nDCG@10", "R@100"), ignore_identical_ids=True)

    def published(self) -> str:
        return f"beir/{self.collection}"

    def local(self, path: Path) -> BeirLayout:
        for folder in (path / self.collection, path):
            if BeirLayout.recognises(folder):
                return BeirLayout(folder)
        raise DataError(f"{path} holds no corpus.jsonl and queries.jsonl, nor does {path / self.collection}")

    def split(self) -> str:
        return "dev" if self.collection == "msmarco" else "test"  # its test split is TREC's, whose rules are others
