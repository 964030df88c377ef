"""Ranking rules: aggregation of passages, removal of identical ids, and agreement with BEIR and MS MARCO."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from encloze.cli.main import main
from encloze.commands.evaluate import Evaluate
from encloze.data.corpus import Corpus
from encloze.data.formats.beir import Beir
from encloze.data.formats.trec import Trec
from encloze.data.records import Document
from encloze.errors import DataError, RecipeError
from encloze.evaluation.measures import compute_measures
from encloze.evaluation.rules import max_passage_run, without_identical_ids
from encloze.systems.bm25 import Bm25
from encloze.systems.index import Index
from encloze.systems.run import RunFile


def test_identical_ids_are_removed_from_the_run() -> None:
    run = {"a": {"a": 3.0, "b": 2.0}, "b": {"a": 1.0}}
    assert without_identical_ids(run) == {"a": {"b": 2.0}, "b": {"a": 1.0}}


def test_a_source_has_the_score_of_its_best_passage(tmp_path: Path) -> None:
    documents = [Document("p1", "", "x", "long", 0), Document("p2", "", "y", "long", 1), Document("lone", "", "z")]
    corpus = Corpus.from_documents(documents, tmp_path / "corpus.arrow")
    run = {"q": {"p1": 1.0, "p2": 2.5, "lone": -1.0, "elsewhere": 0.5}}
    assert max_passage_run(run, corpus) == {"q": {"long": 2.5, "lone": -1.0, "elsewhere": 0.5}}
    assert corpus.sources == {"long", "lone"}


@pytest.fixture
def judged_by_source(dataset: Path) -> Path:
    """Return the toy data set with judgments that name the common source of four passages."""
    for file in (dataset / "qrels").iterdir():
        lines = [re.sub(r"\t(\w+)-\w+\t", r"\t\1\t", line) for line in file.read_text("utf-8").splitlines()]
        file.write_text("\n".join([lines[0].replace("corpus", "corpus-id"), *lines[1:]]) + "\n", "utf-8")
    return dataset


def test_max_aggregation_ranks_sources(judged_by_source: Path) -> None:
    folder = Beir(judged_by_source)
    report = Evaluate(folder, systems=(Bm25(),), passage_aggregation="max", measures=("RR@3",), depth=5).run()
    run = report.systems[0].run
    assert all(len(found) <= 5 for found in run.values())
    assert {document for found in run.values() for document in found} <= {"library", "reactor", "orchard", "comet",
        "river", "engine", "violin", "bakery", "harbour", "glacier"}  # fmt: skip
    assert report.systems[0].values["RR@3"].tolist() == [1.0] * 10


def test_an_index_of_passages_is_evaluated_on_a_data_set_of_whole_texts(judged_by_source: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (judged_by_source / "corpus.jsonl").read_text("utf-8").splitlines()]
    given = ["index", "--corpus", str(judged_by_source), "--indexes", "bm25", "--output", str(tmp_path / "passages")]
    assert main(given) == 0
    texts: dict[str, str] = {}
    for row in rows:
        source = row["_id"].partition("-")[0]
        texts[source] = f"{texts.get(source, '')} {row['title']} {row['text']}"
    whole = [json.dumps({"_id": source, "title": "", "text": text}) + "\n" for source, text in texts.items()]
    (judged_by_source / "corpus.jsonl").write_text("".join(whole), "utf-8")
    systems = (Index(tmp_path / "passages"),)
    report = Evaluate(Beir(judged_by_source), systems=systems, passage_aggregation="max", depth=5).run()
    assert report.systems[0].values["RR@10"].tolist() == [1.0] * 10
    with pytest.raises(DataError, match="It contains passages of them: add --passage_aggregation max"):
        Evaluate(Beir(judged_by_source), systems=systems).run()


def test_judgments_of_sources_need_max_aggregation(judged_by_source: Path) -> None:
    with pytest.raises(DataError, match="none of the 3 documents judged in the split 'test' is in the corpus"):
        Evaluate(Beir(judged_by_source), systems=(Bm25(),)).run()


def test_sources_that_the_corpus_lacks_raise(dataset: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 10 documents judged .*\(judged: 'library-.*', in the corpus: '"):
        Evaluate(Beir(dataset), systems=(Bm25(),), passage_aggregation="max").run()


def test_tuning_cannot_be_combined_with_max_aggregation() -> None:
    with pytest.raises(RecipeError, match="tune_on cannot be combined with passage_aggregation"):
        Evaluate(Beir(Path("x")), systems=(Bm25(tune_on="dev"),), passage_aggregation="max")


def test_ignoring_identical_ids_agrees_with_beir(tmp_path: Path) -> None:
    """BEIR removes the documents with the id of their query from the run and measures the rest with trec_eval."""
    folder = tmp_path / "duplicates"
    (folder / "qrels").mkdir(parents=True)
    texts = {f"d{number}": f"how does number {number % 3} go with word{number}" for number in range(9)}
    lines = "".join(json.dumps({"_id": id_, "text": text}) + "\n" for id_, text in texts.items())
    (folder / "corpus.jsonl").write_text(lines, "utf-8")
    (folder / "queries.jsonl").write_text(lines, "utf-8")
    judged = {f"d{number}": {f"d{(number + 3) % 9}": 1} for number in range(9)}
    rows = "".join(f"{query}\t{document}\t1\n" for query, found in judged.items() for document in found)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows, "utf-8")
    given = {"systems": (Bm25(),), "measures": ("RR@3",)}
    counted = Evaluate(Beir(folder), **given, depth=3).run().systems[0]
    skipped = Evaluate(Beir(folder), **given, depth=3, ignore_identical_ids=True).run().systems[0]
    deeper = Evaluate(Beir(folder), **given, depth=4).run().systems[0].run
    for query, scores in deeper.items():
        assert next(iter(scores)) == query  # each query finds its own document first
        scores.pop(query)
    assert skipped.run == deeper and all(len(found) == 3 for found in skipped.run.values())
    np.testing.assert_array_equal(skipped.values["RR@3"], compute_measures(deeper, judged, ["RR@3"])["RR@3"])
    assert skipped.values["RR@3"].mean() > counted.values["RR@3"].mean()


def test_reciprocal_rank_at_10_agrees_with_ms_marco(tmp_path: Path) -> None:
    """ms_marco_eval.py takes the first relevant one of ten documents, and 0 for queries that the run lacks."""
    rng = np.random.default_rng(0)
    judged = {str(query): {str(document): 1 for document in rng.choice(40, 2, replace=False)} for query in range(30)}
    ranked = {str(query): rng.permutation(40)[:20].astype(str).tolist() for query in range(25)}
    lines = [f"{q} Q0 {d} {rank} {-rank} x" for q, found in ranked.items() for rank, d in enumerate(found, 1)]
    (tmp_path / "run.trec").write_text("\n".join(lines) + "\n", "utf-8")
    total = 0.0
    for query, found in ranked.items():
        for rank, document in enumerate(found[:10], 1):
            if document in judged[query]:
                total += 1 / rank
                break
    run = RunFile(tmp_path / "run.trec")
    (tmp_path / "judged.qrels").write_text("".join(f"{q} 0 {d} 1\n" for q, of in judged.items() for d in of), "utf-8")
    report = Evaluate(Trec(tmp_path / "judged.qrels"), systems=(run,), measures=("mrr@10",)).run()
    assert report.means["run"]["RR@10"].mean == pytest.approx(total / 30)
    assert report.systems[0].note == "5 judged queries are not in the run and count as 0"
