"""Benchmarks by name use published files or ir_datasets, and are evaluated by their own rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ir_datasets
import pytest
from ir_datasets.datasets.base import Dataset as Collection
from ir_datasets.datasets.beir import BeirTitleDoc
from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, GenericQuery, TrecQrel

import toys
from encloze import recipe
from encloze.commands.compare import Compare
from encloze.commands.evaluate import Evaluate
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.ir_datasets import IrDatasets
from encloze.data.formats.trec import Trec
from encloze.data.formats.tsv import Tsv
from encloze.data.lines import ErrorCollector
from encloze.errors import DataError, RecipeError
from encloze.evaluation.benchmarks.base import Benchmark
from encloze.evaluation.measures import DEFAULT_MEASURES
from encloze.evaluation.report import Report
from encloze.reporting.dataset_texts import read_texts
from encloze.reporting.result_folders import find_result_folders

PASSAGES = {"p1": "heat flows", "p2": "heat in wings", "p3": "wings of birds", "p4": "birds sing of heat"}
QUERIES = {"q1": "heat", "q2": "wings", "q3": "never judged"}


@pytest.fixture
def marco(tmp_path: Path) -> Path:
    """Return a folder with small files in the layout of MS MARCO and of two years of TREC."""
    folder = tmp_path / "marco"
    folder.mkdir()
    (folder / "collection.tsv").write_text("".join(f"{id_}\t{text}\n" for id_, text in PASSAGES.items()))
    queries = "".join(f"{id_}\t{text}\n" for id_, text in QUERIES.items())
    for name in ("queries.dev.small.tsv", "msmarco-test2019-queries.tsv", "msmarco-test2020-queries.tsv"):
        (folder / name).write_text(queries)
    (folder / "qrels.dev.small.tsv").write_text("q1\t0\tp1\t1\nq2\t0\tp3\t1\n")
    for year in (2019, 2020):
        (folder / f"{year}qrels-pass.txt").write_text("q1 Q0 p1 1\nq1 Q0 p4 2\nq2 Q0 p2 0\nq2 Q0 p3 3\n")
    return folder


def evaluate(name: str, path: Path | None = None, **more: Any) -> Report:
    tree = {"benchmark": {"type": name, **({"path": str(path)} if path else {})}, "systems": "bm25", **more}
    command: Evaluate = recipe.build(Evaluate, tree)
    return command.run()


def test_msmarco_is_evaluated_by_mrr_on_dev_small(marco: Path) -> None:
    report = evaluate("msmarco-dev", marco)
    assert report.split == "dev.small" and next(iter(report.systems[0].values)) == "RR@10"
    assert report.queries == ("q1", "q2")


@pytest.mark.parametrize("year", [2019, 2020])
def test_grade_1_of_trec_dl_is_not_relevant_in_binary_measures(marco: Path, year: int) -> None:
    values = evaluate(f"trec-dl-{year}", marco).systems[0].values
    assert list(values) == ["nDCG@10", "RR(rel=2)@10", "AP(rel=2)", "R(rel=2)@1000"]
    run = {"q1": {"p1": 2.0, "p4": 1.0}, "q2": {"p3": 1.0}}
    file = marco / "mine.trec"
    file.write_text("".join(f"{q} Q0 {d} 1 {s} mine\n" for q, scores in run.items() for d, s in scores.items()))
    of_run = evaluate(f"trec-dl-{year}", marco, systems=str(file)).systems[0].values
    assert of_run["RR(rel=2)@10"].tolist() == [0.5, 1.0]


def test_a_beir_collection_is_found_in_its_folder_or_above_and_ignores_identical_ids(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": id_, "title": "", "text": text}) + "\n" for id_, text in PASSAGES.items())
    )
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "p1", "text": PASSAGES["p1"]}) + "\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\np1\tp2\t1\n")
    for path in (folder, tmp_path):
        report = evaluate("beir/toy", path)
        assert "p1" not in report.systems[0].run["p1"]
        assert list(report.systems[0].values) == ["nDCG@10", "R@100"]


def test_measures_can_be_replaced(marco: Path) -> None:
    assert list(evaluate("msmarco-dev", marco, measures="P@5").systems[0].values) == ["P@5"]
    default = evaluate("msmarco-dev", marco, measures=",".join(DEFAULT_MEASURES))
    assert tuple(default.systems[0].values) == DEFAULT_MEASURES


def test_the_saved_recipe_has_the_dataset_of_the_benchmark(marco: Path, tmp_path: Path) -> None:
    evaluate("trec-dl-2019", marco, output=str(tmp_path / "out"))
    tree = recipe.read(tmp_path / "out" / "recipe.yaml")
    assert tree["dataset"]["type"] == "trec" and tree.get("benchmark") is None
    inputs = json.loads((tmp_path / "out" / "inputs.json").read_text())["inputs"]
    assert {"dataset", "dataset.topics", "dataset.corpus"} <= inputs.keys()


def test_benchmarks_with_the_same_measures_are_compared_in_one_table(marco: Path, tmp_path: Path) -> None:
    years = [{"type": f"trec-dl-{year}", "path": str(marco)} for year in (2019, 2020)]
    tree = {"systems": ["bm25", {"type": "bm25", "k1": 0.1}], "output": str(tmp_path / "compared")}
    table = recipe.build(Compare, {**tree, "benchmark": years}).run()
    assert [list(report.systems[0].values)[:2] for report in table.reports] == [["nDCG@10", "RR(rel=2)@10"]] * 2
    texts = read_texts(find_result_folders([tmp_path / "compared"])[0])
    assert [one.queries for one in texts] == [{"q1": "heat", "q2": "wings"}] * 2 and not any(
        one.reason for one in texts
    )
    mixed = [years[0], {"type": "msmarco-dev", "path": str(marco)}]
    with pytest.raises(RecipeError, match="different default measures"):
        recipe.build(Compare, {**tree, "benchmark": mixed})
    both = recipe.build(Compare, {**tree, "benchmark": mixed, "measures": "mrr@10", "overwrite": True}).run()
    assert [report.split for report in both.reports] == ["test", "dev.small"]
    with pytest.raises(RecipeError, match="or benchmark"):
        recipe.build(Compare, tree)


def test_invalid_settings_and_files_raise(marco: Path, tmp_path: Path) -> None:
    for name, message in {
        "beir": "beir/scifact",
        "beri/scifact": "did you mean 'beir'",
        "trec-dl-2018": "trec_dl_2019",
    }.items():
        with pytest.raises(RecipeError, match=message):
            evaluate(name, marco)
    with pytest.raises(RecipeError, match="collection"):  # only beir and mteb have collections
        evaluate("msmarco-dev/x", marco)
    with pytest.raises(RecipeError, match="set either dataset or benchmark"):
        recipe.build(Evaluate, {"systems": "bm25"})
    with pytest.raises(RecipeError, match="set either dataset or benchmark"):
        evaluate("msmarco-dev", marco, dataset=str(marco))
    with pytest.raises(RecipeError, match="split cannot be combined with benchmark"):
        evaluate("msmarco-dev", marco, split="dev")
    tuned = [{"type": "bm25", "tune_on": "dev"}]
    toys.write_dataset(marco / "toys")
    with pytest.raises(RecipeError, match="benchmark: tune_on cannot be combined with ignore_identical_ids"):
        evaluate("beir/toys", marco / "toys", systems=tuned)
    with pytest.raises(DataError, match="is not a folder"):
        evaluate("msmarco-dev", tmp_path / "nowhere")
    (marco / "2019qrels-pass.txt").unlink()
    with pytest.raises(DataError, match=r"has no 2019qrels-pass.txt"):
        evaluate("trec-dl-2019", marco)
    with pytest.raises(DataError, match=r"contains corpus.jsonl"):
        evaluate("beir/scifact", marco)


def test_every_benchmark_has_a_collection_in_ir_datasets() -> None:
    names = [
        *(name for name in Benchmark.members() if name not in ("beir", "mteb")),
        "beir/scifact",
        "beir/msmarco",
        "beir/arguana",
    ]
    for name in names:
        benchmark = Benchmark.from_name(name)
        collection = benchmark.format()
        assert isinstance(collection, IrDatasets)
        below = f"{collection.id}/{benchmark.split()}"
        known = set(ir_datasets.registry)
        assert ir_datasets.load(below if below in known else collection.id).has_qrels(), name


class Docs(BaseDocs):
    """Documents in memory; with ``broken``, documents that cannot be downloaded."""

    broken = False

    def docs_iter(self) -> Iterator[BeirTitleDoc]:
        if self.broken:
            raise OSError("no route to the server")
        return iter([BeirTitleDoc(id_, text, f"title of {id_}") for id_, text in PASSAGES.items()])

    def docs_cls(self) -> type:
        return BeirTitleDoc


class Queries(BaseQueries):
    """Queries in memory."""

    def queries_iter(self) -> Iterator[GenericQuery]:
        return iter([GenericQuery(id_, text) for id_, text in QUERIES.items()])

    def queries_cls(self) -> type:
        return GenericQuery


class Qrels(BaseQrels):
    """Judgments in memory."""

    def qrels_iter(self) -> Iterator[TrecQrel]:
        return iter([TrecQrel("q1", "p1", 1, "0"), TrecQrel("q2", "p3", 2, "0")])

    def qrels_cls(self) -> type:
        return TrecQrel


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a collection with one split in ir_datasets."""
    known = ir_datasets.registry._registered
    monkeypatch.setitem(known, "beir/toy", Collection(Docs(), Queries()))
    monkeypatch.setitem(known, "beir/toy/test", Collection(Docs(), Queries(), Qrels()))


def test_a_collection_of_ir_datasets_is_read(published: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = IrDatasets("beir/toy")
    dataset = DatasetSplit(source, "test")
    assert source.splits() == ["test"] and dataset.judgments == {"q1": {"p1": 1}, "q2": {"p3": 2}}
    assert [query.text for query in dataset.queries] == ["heat", "wings"]
    assert dataset.corpus[0].title == "title of p1" and dataset.corpus[0].text == "heat flows"
    report = evaluate("beir/toy")
    assert report.dataset == "ir_datasets:beir/toy" and report.systems[0].values["nDCG@10"].min() > 0
    with pytest.raises(DataError, match="has no qrels. Its splits with judgments: test"):
        _ = DatasetSplit(source, "dev").judgments
    with pytest.raises(DataError, match="unknown collection 'beir/nothing'"):
        _ = DatasetSplit(IrDatasets("beir/nothing"), "test").judgments
    monkeypatch.setattr(Docs, "broken", True)
    with pytest.raises(DataError, match=r"cannot be downloaded.*no route to the server.*published files"):
        list(source.documents(ErrorCollector()))


def test_judgments_with_topics_and_a_collection_form_a_data_set(marco: Path) -> None:
    source = Trec(marco / "2020qrels-pass.txt", marco / "msmarco-test2020-queries.tsv", Tsv(marco))
    dataset = DatasetSplit(source, "test")
    assert [query.id for query in dataset.queries] == ["q1", "q2"]
    assert dataset.judgments["q2"] == {"p2": 0, "p3": 3} and len(dataset.corpus) == len(PASSAGES)
    alone = DatasetSplit(Trec(marco / "2020qrels-pass.txt"), "test")
    with pytest.raises(DataError, match="contains no queries"):
        _ = alone.queries
    with pytest.raises(DataError, match="contains no documents"):
        _ = alone.corpus
