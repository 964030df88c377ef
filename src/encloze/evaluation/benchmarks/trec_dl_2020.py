"""TREC's Deep Learning track of 2020, passage ranking: 54 judged queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from encloze.evaluation.benchmarks._trec_dl import TrecDl


@dataclass(frozen=True)
class TrecDl2020(TrecDl, name="trec_dl_2020"):
    """The files msmarco-test2020-queries.tsv and 2020qrels-pass.txt, beside MS MARCO's collection.tsv."""

    year: ClassVar[int] = 2020
