"""The robustness card says what each system loses, and documents are indexed once for all perturbed queries."""

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
from encloze.evaluation.document_perturbations.distractors import Distractors
from encloze.evaluation.document_perturbations.length import Length
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import measure
from encloze.evaluation.query_perturbations.base import QueryPerturbation
from encloze.evaluation.query_perturbations.case import Case
from encloze.evaluation.query_perturbations.typos import Typos
from encloze.evaluation.robustness import (
    AppliedPerturbation,
    DegradedQuery,
    RobustnessReport,
    SystemRobustness,
    worst_of,
)
from encloze.evaluation.slices import Slice
from encloze.models.checkpoint import RobustnessReport as ModelCard
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
CARD = RobustnessReport(
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


def test_the_loss_is_paired_and_counts_who_lost() -> None:
    typos, length, *_ = CARD.losses
    assert (typos.system, typos.perturbation, typos.clean, typos.perturbed) == ("bm25", "typos", 0.5, 0.3125)
    assert typos.loss == estimate([np.array([1.0, 0.0, 0.25, -0.5])]).interval() and typos.worse == 0.5
    assert length.loss.mean == 0.125 and length.worse == 0.25
    assert all(one.loss == (0, 0, 0) and one.worse == 0 for one in CARD.losses[2:])


def test_the_worst_are_those_that_lose_most() -> None:
    bm25, minilm = CARD.systems
    assert [(one.query, one.perturbation, one.perturbed) for one in CARD.worst(bm25)] == [
        ("0", "typos", 0.0),
        ("1", "length", 0.0),
        ("2", "typos", 0.25),
    ]
    assert [one.query for one in CARD.worst(bm25, "typos", 1)] == ["0"] and CARD.worst(minilm) == []


def test_the_tables() -> None:
    head, *rows = CARD.rows()
    assert head == ["system", "perturbation", "changed", "clean", "perturbed", "loss", "queries worse"]
    assert rows[0][:5] == ["bm25", "typos", "75%", "0.5000", "0.3125"] and rows[0][6] == "50%"
    assert rows[0][5] == "{:+.4f} [{:+.4f}, {:+.4f}]".format(*CARD.losses[0].loss)
    assert [row[:3] for row in rows[1:]] == [
        ["bm25", "length", "100%"],
        ["minilm", "typos", "75%"],
        ["minilm", "length", "100%"],
    ]
    head, *rows = CARD.slice_rows()
    assert head == ["slice", "queries", "system", "in it", "rest", "difference"]
    assert [row[:3] for row in rows] == [["short queries", "2", "bm25"], ["short queries", "2", "minilm"]]
    assert [[cell.split()[0] for cell in row[3:]] for row in rows] == [
        ["0.7500", "0.2500", "+0.5000"],
        ["1.0000", "1.0000", "+0.0000"],
    ]
    inside, rest = np.array([1.0, 0.5]), np.array([0.5, 0.0])
    welch = ttest_ind(inside, rest, equal_var=False).confidence_interval()
    assert CARD.sliced[0].difference == pytest.approx((0.5, welch.low, welch.high))


def test_queries_that_lose_as_much_are_shown_under_various_hardships() -> None:
    fallen = [
        DegradedQuery(query, "", "", 1.0, 0.0, perturbation) for perturbation in ("case", "typos") for query in "abc"
    ]
    fallen += [DegradedQuery("a", "", "", 1.0, 0.5, "dropped"), DegradedQuery("d", "", "", 0.5, 0.25, "case")]
    found = [(one.query, one.perturbation) for one in worst_of(fallen, 4)]
    assert found == [("a", "case"), ("b", "typos"), ("c", "case"), ("d", "case")]


def test_a_card_is_kept_with_the_texts_of_its_queries(tmp_path: Path) -> None:
    CARD.save(tmp_path)
    written = (tmp_path / "robustness.md").read_text(encoding="utf-8")
    assert written == CARD.markdown() and "- bm25: k1 was chosen" in written
    assert '  - 1.0000 to 0.0000: "\u2068river number 0\u2069" as "\u2068rivre 0\u2069" (0)' in written
    assert '  - 0.5000 to 0.0000: "\u2068river number 1\u2069" (1)' in written
    assert "minilm, the queries that lost most" not in written
    figures = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    assert figures["changed"] == {"typos": 0.75, "length": 1.0} and figures["notes"] == ["bm25: k1 was chosen"]
    assert figures["losses"][0]["loss"] == CARD.losses[0].loss._asdict()
    assert figures["slices"][0]["inside"]["mean"] == 0.75 and figures["slices"][0]["rest"]["mean"] == 0.25
    head, *rows = [line.split("\t") for line in (tmp_path / "per_query-typos.tsv").read_text("utf-8").splitlines()]
    assert head == ["query", "before", "after"] + [
        f"{s} {v}" for s in ("bm25", "minilm") for v in ("clean", "perturbed")
    ]
    assert rows[0] == ["0", "river number 0", "rivre 0", "1.000000", "0.000000", "1.000000", "1.000000"]
    assert (tmp_path / "per_query-length.tsv").exists()


# ------------------------------------------------------------------------------------------------------------ stress


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often documents are counted, and how many queries are asked."""
    counts = {"built": 0, "generated_queries": 0}
    finish, run = Bm25Builder.finish, Retriever.run

    def building(self: Bm25Builder) -> None:
        counts["built"] += 1
        finish(self)

    def asking(self: Retriever, queries: Any, depth: int = 100) -> Any:
        counts["generated_queries"] += len(queries)
        return run(self, queries, depth)

    monkeypatch.setattr(Bm25Builder, "finish", building)
    monkeypatch.setattr(Retriever, "run", asking)
    return counts


def test_documents_are_indexed_once_and_only_changed_queries_asked_again(
    dataset: Path, counted: dict[str, int]
) -> None:
    card = Robustness(Beir(dataset), (Bm25(),)).run()
    assert [one.name for one in card.perturbations] == QueryPerturbation.members()
    assert counted["built"] == 1
    assert counted["generated_queries"] == 10 + sum(sum(one.changed) for one in card.perturbations)
    assert not any(card.perturbations[QueryPerturbation.members().index("diacritics")].changed)
    Robustness(
        Beir(dataset), (Bm25(),), query_perturbations=(Case(),), document_perturbations=(Distractors(), Length())
    ).run()
    assert counted["built"] == 1 + 1 + 2


def test_values_are_those_of_the_system_on_the_perturbed_queries(dataset: Path, tmp_path: Path) -> None:
    typos, length = Typos(word_fraction=0.6), Length()
    card = Robustness(
        Beir(dataset),
        (Bm25(),),
        query_perturbations=(typos,),
        document_perturbations=(length,),
        measure="mrr@10",
        seed=3,
    ).run()
    (system,) = card.systems
    data = DatasetSplit(Beir(dataset), "test")
    judgments = {query.id: data.judgments[query.id] for query in data.queries}

    def expected(asked: DatasetSplit) -> list[float]:
        return measure(Bm25().rank(asked, 100).run, judgments, ["RR@10"])["RR@10"].tolist()

    typed = DatasetSplit(Beir(dataset), "test")
    typed.queries = [query._replace(text=typos.perturbed(query, 3)) for query in data.queries]
    longer = data.over(Corpus.of(list(length.documents(data, 3)), tmp_path / "longer.arrow"))
    assert system.clean.tolist() == expected(data) and card.measure == "RR@10"
    assert list(system.values) == ["typos (word_fraction 0.6)", "length"]
    assert system.values["typos (word_fraction 0.6)"].tolist() == expected(typed) != expected(data)
    assert system.values["length"].tolist() == expected(longer)
    assert card.perturbations[0].texts == tuple(query.text for query in typed.queries)


def test_what_is_tuned_is_tuned_among_the_burdened_documents(dataset: Path) -> None:
    card = Robustness(
        Beir(dataset), (Bm25(tune_on="dev"),), query_perturbations=(Case(),), document_perturbations=(Distractors(),)
    ).run()
    (system,) = card.systems
    assert system.name == "bm25 tuned" and system.note.endswith("were chosen on the split dev")
    assert system.values["distractors"].mean() < system.clean.mean() == system.values["case"].mean()


def test_a_stressed_index_and_its_reranker_read_the_perturbed_words(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    class Scores:
        """A re-ranker that remembers what it was asked."""

        def score(self, pairs: list[tuple[str, str]]) -> np.ndarray:
            read.extend(query for query, _ in pairs)
            return np.arange(len(pairs), dtype=np.float32)

    monkeypatch.setattr("encloze.systems.reranked.load_reranker", lambda name: Scores())
    monkeypatch.setattr("encloze.systems.reranked.locate", Path)
    monkeypatch.setattr("encloze.systems.reranked.size_of_weights", lambda name: 0)
    index = tmp_path / "index"
    assert main(["index", "--dataset", str(dataset), "--indexes", "bm25", "--output", str(index)]) == 0
    card = Robustness(Beir(dataset), (Reranked(Index(index), "some", depth=3),), query_perturbations=(Case(),)).run()
    assert set(read) == {*card.perturbations[0].texts, *(query.text for query in card.queries)}
    assert card.systems[0].name == "index + some"


def test_another_domain_stands_among_the_slices(dataset: Path, tmp_path: Path) -> None:
    other = toys.write_dataset(tmp_path / "elsewhere")
    file = other / "queries.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    file.write_text("".join(json.dumps(row | {"text": "zzzq"}) + "\n" for row in rows), "utf-8")
    card = Robustness(
        Beir(dataset), (Bm25(),), query_perturbations=(Case(),), other_datasets=(Beir(other), Beir(dataset))
    ).run()
    strange, same = card.sliced[-2:]
    assert (strange.slice, strange.queries) == ("another data set: elsewhere", 10)
    assert strange.inside.mean == 0 and strange.difference.high < 0 and strange.rest == same.inside == same.rest
    assert same.difference.mean == 0


def test_systems_are_stressed_by_each_of_their_views(dataset: Path, model: Path, tmp_path: Path) -> None:
    given = ["index", "--dataset", str(dataset), "--model", str(model), "--indexes", "flat,bm25", "--output"]
    assert main([*given, str(tmp_path / "both")]) == 0
    systems = (Index(tmp_path / "both"), Hybrid(str(model), title="all"), Bm25(k1=2.0))
    card = Robustness(
        Beir(dataset), systems, per_view=True, query_perturbations=(Typos(),), output=tmp_path / "card", seed=3
    ).run()
    names = ["both flat", "both bm25", "both", "bm25", "model", "all", "bm25 (k1 2)"]
    assert [system.name for system in card.systems] == names
    by_name = {system.name: system for system in card.systems}
    assert (by_name["both flat"].clean == by_name["model"].clean).all()
    assert (by_name["both bm25"].values["typos"] == by_name["bm25"].values["typos"]).all()
    assert [loss.system for loss in card.losses] == names
    again = recipe.read(tmp_path / "card" / "recipe.yaml")
    assert len(again["systems"]) == 7 and again["per_view"] is False  # a name in the card for each
    assert Reranked(Index(tmp_path / "both"), "r").apart()[-2:] == (Index(tmp_path / "both"), Reranked(systems[0], "r"))
    assert Index(tmp_path / "both", ("flat",)).apart() == (Index(tmp_path / "both", ("flat",)),)


def test_both_views_of_a_model_are_stressed(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "two")
    card = ModelCard.read(tmp_path / "two", 64)
    replace(card, heads=(*card.heads, Sparse())).write(tmp_path / "two")
    ours = Model(str(tmp_path / "two"), title="ours")
    assert [part.title for part in ours.apart()] == ["ours dense", "ours sparse", "ours"]
    assert [part.views for part in ours.apart()] == [("dense",), ("sparse",), ()]


def test_a_card_is_told_by_the_rules_of_a_report(dataset: Path, tmp_path: Path) -> None:
    """Documents with the query's own id left out, and sources by their best passage."""
    rows = [json.loads(line) for line in (dataset / "queries.jsonl").read_text("utf-8").splitlines()]
    own = {row["_id"]: row["_id"].removeprefix("q-") for row in rows}
    (dataset / "queries.jsonl").write_text(
        "".join(json.dumps(row | {"_id": own[row["_id"]]}) + "\n" for row in rows), "utf-8"
    )
    for file in (dataset / "qrels").iterdir():
        file.write_text(re.sub("^q-", "", file.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    for rules in ({}, {"ignore_identical_ids": True}):
        card = Robustness(
            Beir(dataset), (Bm25(),), query_perturbations=(Case(),), measure="RR@10", depth=3, **rules
        ).run()
        report = Evaluate(Beir(dataset), systems=(Bm25(),), measures=("RR@10",), depth=3, **rules).run()
        assert (card.systems[0].clean == report.systems[0].values["RR@10"]).all()
        assert card.systems[0].clean.mean() == (0 if rules else 1)
    for file in (dataset / "qrels").iterdir():
        file.write_text(re.sub(r"\t(\w+)-\w+\t1", r"\t\1\t1", file.read_text("utf-8")), "utf-8")
    card = Robustness(Beir(dataset), (Bm25(),), query_perturbations=(Case(),), passage_aggregation="max", depth=3).run()
    report = Evaluate(Beir(dataset), systems=(Bm25(),), passage_aggregation="max", depth=3).run()
    assert card.systems[0].clean.tolist() == report.systems[0].values["nDCG@10"].tolist() == [1.0] * 10


def test_a_benchmark_is_stressed_by_its_rules(dataset: Path) -> None:
    benchmark = recipe.build(Robustness, {"benchmark": {"type": "beir/toys", "path": str(dataset)}, "systems": ["bm25"],
                                      "query_perturbations": ["case"]})  # fmt: skip
    card = benchmark.run()
    assert (card.split, card.measure, len(card.queries)) == ("test", "nDCG@10", 10)


def test_the_command_line_shows_and_keeps_a_card(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "card"
    given = ["robustness", "--systems", "bm25,bm25", "--dataset", str(dataset), "--output", str(output)]
    assert main([*given, "--query_perturbations", "typos,word_order"]) == 0
    said = capsys.readouterr().out
    assert "10 queries, 40 documents, nDCG@10, losses" in said and "bm25 #2" in said
    assert "bm25, the queries that lost most:" in said and "slice" in said
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
    ("settings", "says"),
    [
        ({"systems": ()}, "systems is empty: name at least one, as in --systems bm25,minilm"),
        ({"depth": 0}, "depth must be 1 or more, not 0"),
        ({"measure": "nDGC@10"}, "no measure is called 'nDGC@10'"),
        ({"systems": (Bm25(tune_on="test"),)}, "a system is tuned on 'test', the split that is judged"),
        ({"systems": (RunFile(Path("a.trec")),)}, "the system a does not heed other queries than it was made with"),
        ({"systems": (Seeds((Bm25(), Bm25(k1=2.0))),)}, "seeds stand for several systems"),
        ({"systems": (Reranked(RunFile(Path("a.trec")), "r"),)}, "the system a + r does not heed other queries"),
        (
            {"systems": (Index(Path("i")),), "document_perturbations": (Length(),)},
            "the system i does not heed other documents than",
        ),
        (
            {"systems": (Index(Path("i")),), "other_datasets": (Beir(Path("o")),)},
            "the system i does not heed other documents",
        ),
        ({"dataset": None}, "dataset: name one, as in --dataset FOLDER, or a benchmark"),
        (
            {"passage_aggregation": "max", "document_perturbations": (Length(),)},
            "document_perturbations lie on the documents that judgments name",
        ),
        (
            {"passage_aggregation": "max", "systems": (Bm25(tune_on="dev"),)},
            "tune_on: a system is tuned by judgments of docu",
        ),
        ({"query_perturbations": (Typos(), Typos())}, "typos is asked for twice with the same settings"),
    ],
)
def test_what_cannot_be_stressed_is_refused(settings: dict[str, Any], says: str, dataset: Path) -> None:
    with pytest.raises(ValueError, match=says.replace("+", r"\+")):
        Robustness(**{"dataset": Beir(dataset), "systems": (Bm25(),), **settings})
