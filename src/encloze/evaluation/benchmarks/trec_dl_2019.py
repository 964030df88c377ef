"""TREC's Deep Learning track of 2019, passage ranking: 43 judged queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from encloze.evaluation.benchmarks._trec_dl import TrecDl


@dataclass(frozen=True)
class TrecDl2019(TrecDl, name="trec_dl_2019"):
    """Passage ranking task of TREC's Deep Learning track of 2019, with 43 judged queries.

    A folder given as ``path`` contains collection.tsv of MS MARCO, msmarco-test2019-queries.tsv and
    2019qrels-pass.txt.
    """

    year: ClassVar[int] = 2019
