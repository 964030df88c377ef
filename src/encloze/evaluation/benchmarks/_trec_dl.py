"""Base class of the benchmarks of TREC's Deep Learning track."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.data.formats.trec import Trec
from encloze.data.formats.tsv import Tsv
from encloze.data.lines import find_file
from encloze.errors import DataError
from encloze.evaluation.benchmarks.base import Benchmark, BenchmarkRules


@dataclass(frozen=True)
class TrecDl(Benchmark):
    """Passage ranking over the MS MARCO collection, judged by NIST with grades from 0 to 3.

    nDCG uses all grades. Binary measures count grade 2 and higher as relevant, because grade 1 means "on the topic,
    but no answer". Queries without judgments are excluded. These rules are those of the track's overview papers, arXiv
    2003.07820 and 2102.07662.
    """

    year: ClassVar[int]

    def rules(self) -> BenchmarkRules:
        return BenchmarkRules(("nDCG@10", "RR(rel=2)@10", "AP(rel=2)", "R(rel=2)@1000"), depth=1000)

    def ir_datasets_id(self) -> str:
        return f"msmarco-passage/trec-dl-{self.year}/judged"

    def local_format(self, path: Path) -> Trec:
        names = (f"msmarco-test{self.year}-queries.tsv", f"{self.year}qrels-pass.txt")
        files = [find_file(path, name) for name in names]
        missing = [name for name, file in zip(names, files, strict=True) if file is None]
        if missing:
            raise DataError(f"{path} has no {' and no '.join(missing)}. Download the files from TREC (plain or as .gz)")
        queries, judgments = (file for file in files if file is not None)
        return Trec(judgments, queries, Tsv(path))
