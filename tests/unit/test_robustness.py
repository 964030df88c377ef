"""Robustness reports have the drops of each system, and documents are indexed once for all query perturbations."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

import toys
from encloze import recipe
from encloze.cli.main import main
from encloze.commands.evaluate import Evaluate
from encloze.commands.robustness import Robustness
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.records import Query
from encloze.errors import RecipeError
from encloze.evaluation.document_perturbations.distractors import Distractors
from encloze.evaluation.document_perturbations.length import Length
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import compute_measures
from encloze.evaluation.query_perturbations.base import QueryPerturbation
from encloze.evaluation.query_perturbations.case import Case
from encloze.evaluation.query_perturbations.typos import Typos
from encloze.evaluation.robustness import (
    AppliedPerturbation,
    DegradedQuery,
    RobustnessReport,
    SystemRobustness,
    select_most_degraded,
)
from encloze.evaluation.slices import Slice
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.sparse import Sparse
from encloze.retrieval.retriever import Retriever
from encloze.search.indexes.bm25 import Bm25Builder
from encloze.systems.bm25 import Bm25
from encloze.systems.hybrid import Hybrid
from encloze.systems.index import Index
from encloze.systems.model import Model
from encloze.systems.reranked import Reranked
from encloze.systems.run import RunFile
from encloze.systems.seeds import Seeds

QUERIES = tuple(Query(str(n), f"river  number\t{n}") for n in range(4))
REPORT = RobustnessReport(
    "toys",
    "test",
    "nDCG@10",
    QUERIES,
    (
        AppliedPerturbation("typos", ("rivre 0", "river  number\t1", "rivr 2", "rver 3"), (True, False, True, True)),
        AppliedPerturbation("length", tuple(q.text for q in QUERIES), (True,) * 4),
    ),
    (
        SystemRobustness(
            "bm25",
            np.array([1.0, 0.5, 0.5, 0.0]),
            {"typos": np.array([0.0, 0.5, 0.25, 0.5]), "length": np.array([1.0, 0.0, 0.5, 0.0])},
            "k1 was chosen",
        ),
        SystemRobustness("minilm", np.ones(4), {"typos": np.ones(4), "length": np.ones(4)}),
    ),
    (Slice("short queries", np.array([True, True, False, False]), np.array([False, False, True, True])),),
)


def test_drops_are_paired_differences_with_the_share_of_degraded_queries() -> None:
    typos, length, *_ = REPORT.drops
    assert (typos.system, typos.perturbation, typos.clean, typos.perturbed) == ("bm25", "typos", 0.5, 0.3125)
    assert typos.drop == estimate([np.array([1.0, 0.0, 0.25, -0.5])]).interval() and typos.degraded == 0.5
    assert length.drop.mean == 0.125 and length.degraded == 0.25
    assert all(one.drop == (0, 0, 0) and one.degraded == 0 for one in REPORT.drops[2:])


def test_most_degraded_queries_have_the_largest_drops() -> None:
    bm25, minilm = REPORT.systems
    assert [(one.query, one.perturbation, one.perturbed) for one in REPORT.most_degraded(bm25)] == [
        ("0", "typos", 0.0),
        ("1", "length", 0.0),
        ("2", "typos", 0.25),
    ]
    assert [one.query for one in REPORT.most_degraded(bm25, "typos", 1)] == ["0"] and REPORT.most_degraded(minilm) == []


def test_tables_have_numbers_and_intervals() -> None:
    drops, slices = REPORT.tables()
    assert drops.names == ("system", "perturbation", "changed", "clean", "perturbed", "drop", "queries degraded")
    assert drops.rows[0] == ("bm25", "typos", 0.75, 0.5, 0.3125, REPORT.drops[0].drop, 0.5)
    assert [row[:3] for row in drops.rows[1:]] == [
        ("bm25", "length", 1),
        ("minilm", "typos", 0.75),
        ("minilm", "length", 1),
    ]
    assert "| bm25 | typos | 75% | 0.5000 | 0.3125 | +0.1875 [" in drops.to_markdown()
    assert slices.names == ("slice", "queries", "system", "in slice", "rest", "difference")
    assert [row[:3] for row in slices.rows] == [("short queries", 2, "bm25"), ("short queries", 2, "minilm")]
    assert [[cell.mean for cell in row[3:]] for row in slices.rows] == [[0.75, 0.25, 0.5], [1, 1, 0]]  # type: ignore[union-attr]
    inside, rest = np.array([1.0, 0.5]), np.array([0.5, 0.0])
    welch = ttest_ind(inside, rest, equal_var=False).confidence_interval()
    assert REPORT.slice_results[0].difference == pytest.approx((0.5, welch.low, welch.high))


def test_ties_between_perturbations_are_spread_over_the_perturbations() -> None:
    degraded = [
        DegradedQuery(query, "", "", 1.0, 0.0, perturbation) for perturbation in ("case", "typos") for query in "abc"
    ]
    degraded += [DegradedQuery("a", "", "", 1.0, 0.5, "dropped"), DegradedQuery("d", "", "", 0.5, 0.25, "case")]
    found = [(one.query, one.perturbation) for one in select_most_degraded(degraded, 4)]
    assert found == [("a", "case"), ("b", "typos"), ("c", "case"), ("d", "case")]


def test_a_saved_report_has_the_texts_of_the_queries(tmp_path: Path) -> None:
    REPORT.save(tmp_path)
    written = (tmp_path / "robustness.md").read_text(encoding="utf-8")
    assert written == REPORT.to_markdown() and "- bm25: k1 was chosen" in written
    assert '  - 1.0000 to 0.0000: "\u2068river number 0\u2069" as "\u2068rivre 0\u2069" (0)' in written
    assert '  - 0.5000 to 0.0000: "\u2068river number 1\u2069" (1)' in written
    assert "minilm, most degraded queries" not in written
    figures = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    assert figures["changed"] == {"typos": 0.75, "length": 1.0} and figures["notes"] == ["bm25: k1 was chosen"]
    assert figures["drops"][0]["drop"] == REPORT.drops[0].drop._asdict()
    assert figures["slices"][0]["inside"]["mean"] == 0.75 and figures["slices"][0]["rest"]["mean"] == 0.25
    head, *rows = [line.split("\t") for line in (tmp_path / "per_query-typos.tsv").read_text("utf-8").splitlines()]
    assert head == ["query", "original text", "perturbed text"] + [
        f"{s} {v}" for s in ("bm25", "minilm") for v in ("clean", "perturbed")
    ]
    assert rows[0] == ["0", "river number 0", "rivre 0", "1.000000", "0.000000", "1.000000", "1.000000"]
    assert (tmp_path / "per_query-length.tsv").exists()


# ---------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the built BM25 indexes and the searched queries."""
    counts = {"indexes": 0, "queries": 0}
    finish, run = Bm25Builder.finish, Retriever.run

    def building(self: Bm25Builder) -> None:
        counts["indexes"] += 1
        finish(self)

    def asking(self: Retriever, queries: Any, depth: int = 100) -> Any:
        counts["queries"] += len(queries)
        return run(self, queries, depth)

    monkeypatch.setattr(Bm25Builder, "finish", building)
    monkeypatch.setattr(Retriever, "run", asking)
    return counts


def test_documents_are_indexed_once_and_only_changed_queries_are_searched_again(
    dataset: Path, counted: dict[str, int]
) -> None:
    report = Robustness(Beir(dataset), (Bm25(),)).run()
    assert [one.name for one in report.perturbations] == QueryPerturbation.members()
    assert counted["indexes"] == 1
    assert counted["queries"] == 10 + sum(sum(one.changed) for one in report.perturbations)
    assert not any(report.perturbations[QueryPerturbation.members().index("diacritics")].changed)
    Robustness(
        Beir(dataset), (Bm25(),), query_perturbations=(Case(),), document_perturbations=(Distractors(), Length())
    ).run()
    assert counted["indexes"] == 1 + 1 + 2


def test_values_are_those_of_the_system_on_perturbed_queries_and_documents(dataset: Path, tmp_path: Path) -> None:
    typos, length = Typos(word_fraction=0.6), Length()
    report = Robustness(
        Beir(dataset),
        (Bm25(),),
        query_perturbations=(typos,),
        document_perturbations=(length,),
        measure="mrr@10",
        seed=3,
    ).run()
    (system,) = report.systems
    data = DatasetSplit(Beir(dataset), "test")
    judgments = {query.id: data.judgments[query.id] for query in data.queries}

    def expected(split: DatasetSplit) -> list[float]:
        return compute_measures(Bm25().rank(split, 100).run, judgments, ["RR@10"])["RR@10"].tolist()

    typed = DatasetSplit(Beir(dataset), "test")
    typed.queries = [query._replace(text=typos.perturb_query(query, 3)) for query in data.queries]
    longer = data.with_corpus(Corpus.from_documents(list(length.documents(data, 3)), tmp_path / "longer.arrow"))
    assert system.clean.tolist() == expected(data) and report.measure == "RR@10"
    assert list(system.values) == ["typos (word_fraction 0.6)", "length"]
    assert system.values["typos (word_fraction 0.6)"].tolist() == expected(typed) != expected(data)
    assert system.values["length"].tolist() == expected(longer)
    assert report.perturbations[0].texts == tuple(query.text for query in typed.queries)


def test_a_tuned_system_is_tuned_on_the_perturbed_documents(dataset: Path) -> None:
    report = Robustness(
        Beir(dataset), (Bm25(tune_on="dev"),), query_perturbations=(Case(),), document_perturbations=(Distractors(),)
    ).run()
    (system,) = report.systems
    assert system.name == "bm25 tuned" and system.note.endswith("were tuned on the split dev")
    assert system.values["distractors"].mean() < system.clean.mean() == system.values["case"].mean()


def test_the_reranker_of_an_index_scores_the_perturbed_queries(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    class Scores:
        """Re-ranker that records the queries."""

        def score(self, pairs: list[tuple[str, str]]) -> np.ndarray:
            read.extend(query for query, _ in pairs)
            return np.arange(len(pairs), dtype=np.float32)

    monkeypatch.setattr("encloze.systems.reranked.load_reranker", lambda name: Scores())
    monkeypatch.setattr("encloze.systems.reranked.locate", Path)
    monkeypatch.setattr("encloze.systems.reranked.size_of_weights", lambda name: 0)
    index = tmp_path / "index"
    assert main(["index", "--dataset", str(dataset), "--indexes", "bm25", "--output", str(index)]) == 0
    report = Robustness(
        Beir(dataset), (Reranked(Index(index), "some", depth=3, weight=1.0),), query_perturbations=(Case(),)
    ).run()
    assert set(read) == {*report.perturbations[0].texts, *(query.text for query in report.queries)}
    assert report.systems[0].name == "index + some"


def test_other_datasets_are_listed_among_the_slices(dataset: Path, tmp_path: Path) -> None:
    other = toys.write_dataset(tmp_path / "elsewhere")
    file = other / "queries.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    file.write_text("".join(json.dumps(row | {"text": "zzzq"}) + "\n" for row in rows), "utf-8")
    report = Robustness(
        Beir(dataset), (Bm25(),), query_perturbations=(Case(),), other_datasets=(Beir(other), Beir(dataset))
    ).run()
    strange, same = report.slice_results[-2:]
    assert (strange.slice, strange.queries) == ("other data set: elsewhere", 10)
    assert strange.inside.mean == 0 and strange.difference.high < 0 and strange.rest == same.inside == same.rest
    assert same.difference.mean == 0


@pytest.mark.filterwarnings("ignore:on the split dev")
def test_per_view_evaluates_each_view_of_each_system(dataset: Path, model: Path, tmp_path: Path) -> None:
    given = ["index", "--dataset", str(dataset), "--model", str(model), "--indexes", "flat,bm25", "--output"]
    assert main([*given, str(tmp_path / "both")]) == 0
    systems = (Index(tmp_path / "both"), Hybrid(str(model), title="all"), Bm25(k1=2.0))
    report = Robustness(
        Beir(dataset), systems, per_view=True, query_perturbations=(Typos(),), output=tmp_path / "card", seed=3
    ).run()
    names = ["both flat", "both bm25", "both", "bm25", "model", "all", "bm25 (k1 2)"]
    assert [system.name for system in report.systems] == names
    by_name = {system.name: system for system in report.systems}
    assert (by_name["both flat"].clean == by_name["model"].clean).all()
    assert (by_name["both bm25"].values["typos"] == by_name["bm25"].values["typos"]).all()
    assert [drop.system for drop in report.drops] == names
    saved = recipe.read(tmp_path / "card" / "recipe.yaml")
    assert len(saved["systems"]) == 7 and saved["per_view"] is False
    assert Reranked(Index(tmp_path / "both"), "r").per_view()[-2:] == (
        Index(tmp_path / "both"),
        Reranked(systems[0], "r"),
    )
    assert Index(tmp_path / "both", ("flat",)).per_view() == (Index(tmp_path / "both", ("flat",)),)


def test_per_view_splits_a_model_into_its_views(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "two")
    config = EncoderConfig.read(tmp_path / "two", 64)
    replace(config, heads=(*config.heads, Sparse())).write(tmp_path / "two")
    ours = Model(str(tmp_path / "two"), title="ours")
    assert [part.title for part in ours.per_view()] == ["ours dense", "ours sparse", "ours"]
    assert [part.views for part in ours.per_view()] == [("dense",), ("sparse",), ()]


def test_ranking_rules_are_those_of_evaluate(dataset: Path, tmp_path: Path) -> None:
    """Identical ids are ignored, and sources are scored by their best passage."""
    rows = [json.loads(line) for line in (dataset / "queries.jsonl").read_text("utf-8").splitlines()]
    new_ids = {row["_id"]: row["_id"].removeprefix("q-") for row in rows}
    (dataset / "queries.jsonl").write_text(
        "".join(json.dumps(row | {"_id": new_ids[row["_id"]]}) + "\n" for row in rows), "utf-8"
    )
    for file in (dataset / "qrels").iterdir():
        file.write_text(re.sub("^q-", "", file.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    for rules in ({}, {"ignore_identical_ids": True}):
        robustness = Robustness(
            Beir(dataset), (Bm25(),), query_perturbations=(Case(),), measure="RR@10", depth=3, **rules
        ).run()
        evaluation = Evaluate(Beir(dataset), systems=(Bm25(),), measures=("RR@10",), depth=3, **rules).run()
        assert (robustness.systems[0].clean == evaluation.systems[0].values["RR@10"]).all()
        assert robustness.systems[0].clean.mean() == (0 if rules else 1)
    for file in (dataset / "qrels").iterdir():
        file.write_text(re.sub(r"\t(\w+)-\w+\t1", r"\t\1\t1", file.read_text("utf-8")), "utf-8")
    rules = {"passage_aggregation": "max", "depth": 3}
    robustness = Robustness(
        Beir(dataset), (Bm25(),), query_perturbations=(Case(),), passage_aggregation="max", depth=3
    ).run()
    evaluation = Evaluate(Beir(dataset), systems=(Bm25(),), **rules).run()
    assert robustness.systems[0].clean.tolist() == evaluation.systems[0].values["nDCG@10"].tolist() == [1.0] * 10


def test_a_benchmark_is_evaluated_by_its_rules(dataset: Path) -> None:
    benchmark = recipe.build(Robustness, {"benchmark": {"type": "beir/toys", "path": str(dataset)}, "systems": ["bm25"],
                                      "query_perturbations": ["case"]})  # fmt: skip
    report = benchmark.run()
    assert (report.split, report.measure, len(report.queries)) == ("test", "nDCG@10", 10)


def test_the_command_line_prints_and_saves_the_report(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "card"
    given = ["robustness", "--systems", "bm25,bm25", "--dataset", str(dataset), "--output", str(output)]
    assert main([*given, "--query_perturbations", "typos,word_order"]) == 0
    output_text = capsys.readouterr().out
    assert "10 queries, 40 documents, nDCG@10, drops" in output_text and "bm25 #2" in output_text
    assert "bm25, most degraded queries:" in output_text and "slice" in output_text
    names = {
        "robustness.json",
        "robustness.md",
        "per_query-typos.tsv",
        "per_query-word_order.tsv",
        "recipe.yaml",
        "inputs.json",
    }
    assert names < {file.name for file in output.iterdir()}
    assert main([*given, "--query_perturbations", "typos"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"systems": ()}, "systems is empty. Name at least one system, as in --systems bm25,minilm"),
        ({"depth": 0}, "depth must be 1 or more, not 0"),
        ({"measure": "nDGC@10"}, "unknown measure 'nDGC@10'"),
        ({"systems": (Bm25(tune_on="test"),)}, "a system is tuned on the evaluated split 'test'"),
        (
            {"systems": (RunFile(Path("a.trec")),)},
            "the system a only works for the queries it was built from",
        ),
        ({"systems": (Seeds((Bm25(), Bm25(k1=2.0))),)}, "robustness does not average over seeds"),
        ({"systems": (Reranked(RunFile(Path("a.trec")), "r"),)}, "the system a + r only works for the queries"),
        (
            {"systems": (Index(Path("i")),), "document_perturbations": (Length(),)},
            "the system i only works for the documents it",
        ),
        (
            {"systems": (Index(Path("i")),), "other_datasets": (Beir(Path("o")),)},
            "the system i only works for the documents it",
        ),
        ({"dataset": None}, "set either dataset or benchmark, as in --dataset FOLDER"),
        (
            {"passage_aggregation": "max", "document_perturbations": (Length(),)},
            "document_perturbations cannot be combined with passage_aggregation",
        ),
        (
            {"passage_aggregation": "max", "systems": (Bm25(tune_on="dev"),)},
            "tune_on cannot be combined with passage_aggregation",
        ),
        ({"query_perturbations": (Typos(), Typos())}, "the perturbation typos is listed twice"),
    ],
)
def test_invalid_settings_raise(settings: dict[str, Any], message: str, dataset: Path) -> None:
    with pytest.raises(RecipeError, match=message.replace("+", r"\+")):
        Robustness(**{"dataset": Beir(dataset), "systems": (Bm25(),), **settings})
