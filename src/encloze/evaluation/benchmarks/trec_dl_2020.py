"""TREC's Deep Learning track of 2020, passage ranking: 54 judged queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from encloze.evaluation.benchmarks._trec_dl import TrecDl


@dataclass(frozen=True)
class TrecDl2020(TrecDl, name="trec_dl_2020"):
    """Passage ranking task of TREC's Deep Learning track of 2020, with 54 judged queries.

    A folder given as ``path`` contains collection.tsv of MS MARCO, msmarco-test2020-queries.tsv and
    2020qrels-pass.txt.
    """

    year: ClassVar[int] = 2020
