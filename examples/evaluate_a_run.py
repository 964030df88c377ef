"""Evaluate a TREC run against TREC judgments: python evaluate_a_run.py RUN JUDGMENTS; two small files by default."""

import sys
import tempfile
from pathlib import Path

import encloze

JUDGMENTS = "q1 0 d1 1\nq1 0 d2 0\nq2 0 d3 2\nq2 0 d4 1\nq3 0 d5 1\n"
RUN = "q1 Q0 d2 1 2.0 toy\nq1 Q0 d1 2 1.0 toy\nq2 Q0 d3 1 3.0 toy\nq2 Q0 d4 2 2.5 toy\n"  # without q3: it counts as 0


def main(run: Path, judgments: Path) -> None:
    measures = ["nDCG@10", "RR@10", "R@100"]
    report = encloze.evaluate([run], {"type": "trec", "path": judgments}, measures=measures)
    for measure, interval in report.means[report.systems[0].name].items():
        print(f"{measure:>8}  {interval.mean:.4f}  [{interval.low:.4f}, {interval.high:.4f}]")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            run, judgments = Path(folder, "toy.run"), Path(folder, "toy.qrels")
            run.write_text(RUN, encoding="utf-8")
            judgments.write_text(JUDGMENTS, encoding="utf-8")
            main(run, judgments)
