"""Measure a TREC run against TREC judgments: python judge_a_run.py RUN JUDGMENTS (a toy pair without arguments)."""

import sys
import tempfile
from pathlib import Path

from encloze.data.dataset import DatasetSplit
from encloze.data.formats.trec import Trec
from encloze.data.runs import read_run
from encloze.evaluation.report import Judged, judge

JUDGMENTS = "q1 0 d1 1\nq1 0 d2 0\nq2 0 d3 2\nq2 0 d4 1\nq3 0 d5 1\n"
RUN = "q1 Q0 d2 1 2.0 toy\nq1 Q0 d1 2 1.0 toy\nq2 Q0 d3 1 3.0 toy\nq2 Q0 d4 2 2.5 toy\n"  # q3 is not in it: 0


def main(run: Path, judgments: Path) -> None:
    grades = DatasetSplit(Trec(judgments), "test").judgments
    measures = ("nDCG@10", "RR@10", "R@100")
    report = judge(judgments.name, "test", grades, [Judged(run.name, read_run(run))], measures)
    print(report.title())
    for name in report.measures:
        mean, low, high = report.mean(report.systems[0], name)
        print(f"{name:>8}  {mean:.4f}  [{low:.4f}, {high:.4f}]")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder, "toy.run"), Path(folder, "toy.qrels")
            files[0].write_text(RUN, encoding="utf-8")
            files[1].write_text(JUDGMENTS, encoding="utf-8")
            main(*files)
