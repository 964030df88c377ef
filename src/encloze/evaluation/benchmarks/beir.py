"""BEIR: retrieval collections of many domains, for models trained on other data, measured by nDCG@10."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.beir import Beir as BeirFormat
from encloze.errors import DataError
from encloze.evaluation.benchmarks.base import Benchmark, BenchmarkRules


@dataclass(frozen=True)
class Beir(Benchmark, name="beir"):
    """A collection of BEIR, such as ``beir/scifact``. Documents whose id equals the id of the query are removed from
    the run.

    A folder given as ``path`` contains corpus.jsonl, queries.jsonl and qrels/test.tsv, either directly or in a
    subfolder with the name of the collection. The removal of documents with the id of the query follows
    ``ignore_identical_ids`` in https://github.com/beir-cellar/beir.
    """

    collection: str = ""
    """Name of the collection in BEIR, such as scifact or cqadupstack/android."""

    def __post_init__(self) -> None:
        if not self.collection:
            raise ValueError("the collection is missing. Write it after a slash, as in beir/scifact")

    def rules(self) -> BenchmarkRules:
        return BenchmarkRules(("nDCG@10", "R@100"), ignore_identical_ids=True)

    def ir_datasets_id(self) -> str:
        return f"beir/{self.collection}"

    def local_format(self, path: Path) -> BeirFormat:
        for folder in (path / self.collection, path):
            if BeirFormat.recognizes(folder):
                return BeirFormat(folder)
        raise DataError(
            f"neither {path} nor {path / self.collection} contains corpus.jsonl and queries.jsonl. Set benchmark.path "
            "to the folder of the collection"
        )

    def split(self) -> str:
        return "dev" if self.collection == "msmarco" else "test"  # its test split is TREC's, which has other rules
