"""MS MARCO passage ranking: the 6,980 queries of dev.small with about one relevant passage each, measured by MRR@10."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from encloze.data.formats.tsv import Tsv
from encloze.evaluation.benchmarks.base import Benchmark, BenchmarkRules


@dataclass(frozen=True)
class MsmarcoDev(Benchmark, name="msmarco_dev"):
    """Development queries of MS MARCO passage ranking, measured by MRR@10.

    A folder given as ``path`` contains the files of collectionandqueries.tar.gz: collection.tsv, queries.dev.small.tsv
    and qrels.dev.small.tsv. MRR@10 is the measure of the evaluation script at https://microsoft.github.io/msmarco/.
    """

    def rules(self) -> BenchmarkRules:
        return BenchmarkRules(("RR@10", "R@1000", "nDCG@10"), depth=1000)

    def ir_datasets_id(self) -> str:
        return "msmarco-passage/dev/small"

    def local_format(self, path: Path) -> Tsv:
        return Tsv(path)

    def split(self) -> str:
        return "dev.small"
