"""What the years of TREC's Deep Learning track share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.formats.trec import Trec
from encloze.data.formats.tsv import Tsv
from encloze.data.lines import present
from encloze.errors import DataError
from encloze.evaluation.benchmarks.base import Benchmark, BenchmarkRules


@dataclass(frozen=True)
class TrecDl(Benchmark):
    """Passage ranking over MS MARCO's collection, judged by NIST in grades 0 to 3.

    nDCG takes the grades; in binary measures a passage is relevant from grade 2 on, as 1 is "on the topic, but no
    answer". Queries without judgments do not count. Source: the track's overviews, arXiv 2003.07820 and 2102.07662.
    """

    year: ClassVar[int]

    def rules(self) -> BenchmarkRules:
        return BenchmarkRules(("nDCG@10", "RR(rel=2)@10", "AP(rel=2)", "R(rel=2)@1000"), depth=1000)

    def published(self) -> str:
        return f"msmarco-passage/trec-dl-{self.year}/judged"

    def local(self, path: Path) -> Trec:
        names = (f"msmarco-test{self.year}-queries.tsv", f"{self.year}qrels-pass.txt")
        files = [present(path, name) for name in names]
        lacking = [name for name, file in zip(names, files, strict=True) if file is None]
        if lacking:
            raise DataError(f"{path} has no {' and no '.join(lacking)} (nor .gz), which TREC publishes")
        topics, judged = (file for file in files if file is not None)
        return Trec(judged, topics, Tsv(path))
