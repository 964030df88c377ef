"""Systems are resolved from names and paths, checked, prepared and evaluated."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

import toys
from encloze import recipe
from encloze.cli.main import main
from encloze.commands.base import Command
from encloze.commands.evaluate import Evaluate
from encloze.commands.robustness import Robustness
from encloze.data.counts import DatasetCounts
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.formats.generated_queries import GeneratedQueries
from encloze.data.runs import write_run
from encloze.errors import DataError, EnclozeError, RecipeError, StorageError
from encloze.evaluation.query_perturbations.case import Case
from encloze.evaluation.report import Report
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.expansions.rm3 import Rm3
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.bm25 import Bm25 as Bm25Index
from encloze.systems.base import System, unique_titles
from encloze.systems.bm25 import Bm25
from encloze.systems.hybrid import Hybrid
from encloze.systems.index import Index
from encloze.systems.model import Model
from encloze.systems.reranked import Reranked
from encloze.systems.run import RunFile
from encloze.systems.seeds import Seeds


@pytest.mark.parametrize(
    ("late", "says"),
    [
        (Index(Path("gone")), "gone is not an index"),
        (Model("gone"), "'gone' is not a local folder"),
        (Reranked(Bm25(), "gone"), "'gone' is not a local folder"),
        (Hybrid("gone"), "'gone' is not a local folder"),
        (Seeds((Bm25(), Index(Path("gone")))), "gone is not an index"),
        (RunFile(Path("gone.trec")), "gone.trec"),
    ],
)
def test_missing_files_of_the_last_system_are_reported_before_the_first_one_runs(
    late: System, says: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bm25, "prepare", None)
    with pytest.raises(EnclozeError, match=re.escape(says)):
        Evaluate(Beir(dataset), systems=(Bm25(), late)).run()


@pytest.mark.parametrize(
    "late", [Bm25(tune_on="gone"), Hybrid("minilm", tune_on="gone"), Seeds((Bm25(tune_on="gone"), Bm25(k1=2)))]
)
def test_a_missing_split_of_the_last_system_is_reported_before_the_first_one_runs(
    late: System, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bm25, "prepare", None)
    commands: list[Command] = [Evaluate(Beir(dataset), systems=(Bm25(), late))]
    if not isinstance(late, Seeds):
        commands.append(Robustness(dataset=Beir(dataset), systems=(Bm25(), late)))
    for command in commands:
        with pytest.raises(DataError, match="gone"):
            command.run()


def test_runs_that_an_evaluation_wrote_give_the_same_report(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "report"
    first = Evaluate(dataset=Beir(dataset), systems=(Bm25(), Bm25(k1=0.1)), output=output).run()
    assert [system.name for system in first.systems] == ["bm25", "bm25 (k1 0.1)"]
    assert first.systems[0].milliseconds_per_query is not None
    files = {"report.md", "report.json", "per_query.tsv", "runs", "recipe.yaml", "versions.json", "inputs.json"}
    assert files | {"manifest.json"} == {file.name for file in output.iterdir()}
    reloaded = Evaluate(dataset=Beir(dataset), systems=(RunFile(output / "runs" / "bm25.trec"),)).run()
    for name, values in reloaded.systems[0].values.items():
        assert (values == first.systems[0].values[name]).all()
    assert reloaded.systems[0].milliseconds_per_query is None
    with pytest.raises(StorageError, match="exists already"):
        Evaluate(dataset=Beir(dataset), systems=(Bm25(),), output=output).run()


def test_queries_missing_in_a_run_file_are_noted(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.run").write_text("q-library-history Q0 library-history 1 2.5 mine\n", encoding="utf-8")
    report = Evaluate(dataset=Beir(dataset), systems=(RunFile(tmp_path / "mine.run"),)).run()
    assert report.systems[0].name == "mine"
    assert report.systems[0].note == "9 judged queries are not in the run and count as 0"
    assert report.systems[0].values["RR@10"].sum() == 1


def test_unjudged_queries_of_a_run_file_are_noted(dataset: Path, tmp_path: Path) -> None:
    lines = [f"{row['_id']} Q0 library-history 1 2.5 mine\n" for row in toys.queries()]
    (tmp_path / "mine.run").write_text("".join(lines), encoding="utf-8")
    report = Evaluate(dataset=Beir(dataset), systems=(RunFile(tmp_path / "mine.run"),)).run()
    assert report.systems[0].note == "30 queries of the run are not judged and are ignored"


def test_inconsistencies_of_a_data_set_are_counted_and_saved(dataset: Path, tmp_path: Path) -> None:
    """A query without text, one without relevant documents, and one whose documents are missing."""
    file = dataset / "qrels" / "test.tsv"
    head, first, second, *rest = file.read_text("utf-8").splitlines()
    first, second = first.replace("\t1", "\t0"), second.replace("\torchard", "\tgone")
    more = rest[0].partition("\t")[0]
    lines = [head, first, second, *rest, "q-nowhere\tlibrary-history\t1", f"{more}\tgone-too\t1"]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.warns(UserWarning, match="are not in"):
        report = Evaluate(dataset=Beir(dataset), systems=(Bm25(),), output=tmp_path / "out").run()
        card = Robustness(Beir(dataset), (Bm25(),), query_perturbations=(Case(),)).run()
    assert (
        report.counts
        == card.counts
        == DatasetCounts(
            11, 1, queries=40, queries_without_text=1, documents=40, missing_documents=2, queries_without_documents=1
        )
    )
    assert (
        report.notes
        == card.notes
        == [
            "1 judged queries have no text: they are skipped",
            "1 judged queries have no relevant document: their score is 0",
            "1 judged queries have no relevant document in the corpus: their score is 0",
            "2 judged documents are not in the corpus: no system that searches it can retrieve them",
        ]
    )
    assert len(report.queries) == len(card.queries) == 10 and "10 queries, 40 documents" in report.title
    assert report.systems[0].values["nDCG@10"].mean() == card.systems[0].clean.mean()
    assert Report.load(tmp_path / "out").counts == report.counts
    write_run(tmp_path / "own.trec", {"q-nowhere": {"library-history": 1.0}})
    alone = Evaluate(dataset=Beir(dataset), systems=(RunFile(tmp_path / "own.trec"),)).run()
    assert len(alone.queries) == 11 and alone.counts == DatasetCounts(11, 1)  # a run needs no texts


def test_a_folder_with_a_run_is_a_system(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mined").mkdir()
    (tmp_path / "mined" / "run.trec").write_text("q-library-history Q0 library-history 1 2.5 mine\n", encoding="utf-8")
    report = Evaluate(dataset=Beir(dataset), systems=(System.from_name(str(tmp_path / "mined")),)).run()
    assert report.systems[0].name == "mined" and report.systems[0].values["RR@10"].sum() == 1


def test_bm25_is_tuned_on_another_split_and_notes_the_parameters(dataset: Path) -> None:
    tuned = Bm25(tune_on="dev")
    report = Evaluate(dataset=Beir(dataset), systems=(Bm25(), tuned)).run()
    assert report.systems[1].name == "bm25 tuned"
    assert report.systems[1].note.startswith("k1 ") and report.systems[1].note.endswith("were tuned on the split dev")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "systems is empty"),
        ({"systems": (Reranked(Bm25(tune_on="test"), "x"),)}, "a system is tuned on the evaluated split 'test'"),
        ({"systems": (Bm25(),), "depth": 0}, "depth must be 1 or more, not 0"),
        ({"systems": (Bm25(),), "measures": ("ndgc@10",)}, "unknown measure 'ndgc@10'"),
    ],
)
def test_an_invalid_evaluation_is_refused_before_any_work(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Evaluate(dataset=Beir(Path("x")), **settings)  # type: ignore[arg-type]


def test_queries_in_one_language_are_evaluated_on_documents_in_another(tmp_path: Path) -> None:
    """The languages share ids, as in XQuAD, so `generated_queries` joins documents of one with queries of another."""
    names = {"river": "Fluss", "engine": "Motor", "library": "Bibliothek"}
    for language, texts in (("en", names), ("de", names.values())):
        folder = tmp_path / language
        (folder / "qrels").mkdir(parents=True)
        for kind, says in (("corpus", "{}"), ("queries", "{}?")):
            lines = [json.dumps({"_id": f"{n}", "text": says.format(text)}) for n, text in enumerate(texts)]
            (folder / f"{kind}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        judged = "query-id\tcorpus-id\tscore\n" + "".join(f"{n}\t{n}\t1\n" for n in range(3))
        (folder / "qrels" / "test.tsv").write_text(judged, encoding="utf-8")
    # A loanword is all that two languages have in common here.
    (tmp_path / "de" / "queries.jsonl").write_text(
        '{"_id": "0", "text": "Fluss?"}\n{"_id": "1", "text": "Engine?"}\n{"_id": "2", "text": "Bibliothek?"}', "utf-8"
    )
    values = {}
    for corpus, questions in (("en", "en"), ("en", "de"), ("de", "de")):
        data = GeneratedQueries(Beir(tmp_path / corpus), tmp_path / questions)
        report = Evaluate(dataset=data, systems=(Bm25(),), measures=("RR@10",)).run()
        values[corpus, questions] = report.systems[0].values["RR@10"].tolist()
    assert values == {("en", "en"): [1, 1, 1], ("en", "de"): [0, 1, 0], ("de", "de"): [1, 0, 1]}


def test_equal_titles_are_numbered() -> None:
    assert unique_titles([Bm25(), Bm25(), Bm25(title="mine"), Bm25()]) == ["bm25", "bm25 #2", "mine", "bm25 #3"]
    twins = [Bm25(title=title) for title in ("F #", "F #", "a #2", "a", "a")]
    assert unique_titles(twins) == ["F #", "F # #2", "a #2", "a", "a #3"]


def test_titles_name_the_fusion() -> None:
    half, index = Weighted((0.5, 0.5)), Path("idx")
    hybrids = (Hybrid("minilm"), Hybrid("minilm", fusion=half), Hybrid("minilm", tune_on="dev"))
    assert [system.default_title() for system in hybrids] == [
        "minilm + bm25",
        "minilm + bm25, weighted (weights [0.5, 0.5])",
        "minilm + bm25, tuned on dev",
    ]
    indexes = (Index(index), Index(index, ("flat", "bm25"), fusion=half), Index(index, tune_on="dev"))
    assert [system.default_title() for system in indexes] == [
        "idx",
        "idx flat + bm25, weighted (weights [0.5, 0.5])",
        "idx, tuned on dev",
    ]


def test_judged_documents_missing_in_an_index_are_noted(dataset: Path, tmp_path: Path) -> None:
    rows = (dataset / "corpus.jsonl").read_text("utf-8").splitlines(keepends=True)
    whole = DatasetSplit(Beir(dataset), "test")
    lost = next(iter(whole.judgments[whole.queries[0].id]))
    smaller = shutil.copytree(dataset, tmp_path / "smaller")
    kept = [row for row in rows if json.loads(row)["_id"] != lost]
    (smaller / "corpus.jsonl").write_text("".join(kept), "utf-8")
    assert main(["index", "--corpus", str(smaller), "--indexes", "bm25", "--output", str(tmp_path / "index")]) == 0
    report = Evaluate(Beir(dataset), systems=(Index(tmp_path / "index"),)).run()
    assert report.systems[0].note == "the index lacks 1 judged documents and cannot retrieve them"


def test_the_depth_is_at_least_the_cutoff_of_the_measures(dataset: Path) -> None:
    shallow = Evaluate(Beir(dataset), systems=(Bm25(),), measures=("R@1", "P@20"), depth=3).run()
    assert max(map(len, shallow.systems[0].run.values())) > 3
    usual = Evaluate(Beir(dataset), systems=(Bm25(),), depth=3).run()
    assert max(map(len, usual.systems[0].run.values())) > 10  # R@100 is one of them
    plain = Evaluate(Beir(dataset), systems=(Bm25(),), measures=("R@1", "AP"), depth=3).run()
    assert max(map(len, plain.systems[0].run.values())) == 3


def test_memory_is_in_the_table(dataset: Path) -> None:
    (memory,) = Evaluate(Beir(dataset), systems=(Bm25(),), measure_memory=True).run().table().values("memory MiB")
    assert isinstance(memory, float) and 5 < memory < 500


def test_every_system_survives_a_recipe(tmp_path: Path) -> None:
    """This includes systems with members of other families as settings."""
    systems = (
        Bm25(0.9, 0.4, Stemmed("german"), Rm3()),
        Hybrid("minilm", bm25=Bm25Index(0.5, 0.5, Stemmed("german")), fusion=Weighted()),
        Hybrid("minilm", tune_on="dev"),
        Model("minilm", views=("dense",), title="x"),
        Index(tmp_path / "index", ("flat",), tune_on="dev"),
        Reranked(Hybrid("minilm"), "r"),
        RunFile(tmp_path / "a.trec"),
        Seeds((Hybrid("a"), Hybrid("b"))),
    )
    assert {system.name for system in systems} == set(System.members())
    command = Evaluate(Beir(tmp_path), systems=systems)
    tree = yaml.safe_load(recipe.dump(command))
    assert recipe.build(Evaluate, tree) == command


def test_titles_contain_the_settings_that_differ_from_the_defaults() -> None:
    tuned, stemmed = Bm25(k1=0.9, tune_on="dev"), Bm25(0.9, 0.4, Stemmed("german"), Rm3(feedback_documents=5))
    assert unique_titles([tuned, stemmed]) == [
        "bm25 tuned",
        "bm25 (k1 0.9, b 0.4) stemmed (language german) rm3 (feedback_documents 5)",
    ]


def test_a_model_folder_may_have_the_name_of_a_run_file(dataset: Path, model: Path) -> None:
    called = model.rename(model.with_name("exp.run"))
    assert recipe.build(Evaluate, {"dataset": str(dataset), "systems": [str(called)]}).systems == (Model(str(called)),)


def test_a_missing_run_file_is_not_taken_for_a_model(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["evaluate", "--dataset", str(dataset), "--systems", f"bm25,{tmp_path / 'gone.trec.gz'}"]
    assert main(given) == 2
    assert f"{tmp_path / 'gone.trec.gz'}: cannot be read: No such file" in " ".join(capsys.readouterr().err.split())


def test_an_index_whose_texts_contain_the_queries_is_warned_of(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index, titles = tmp_path / "index", ["--dataset", "titles", "--dataset.corpus", str(dataset)]
    titles += ["--dataset.min_words", "1"]
    assert main(["index", "--dataset", str(dataset), "--indexes", "bm25", "--output", str(index)]) == 0
    flags = ["--split", "train", "--systems", str(index), "--measures", "nDCG@10"]
    assert main(["evaluate", *titles, *flags, "--output", str(tmp_path / "result")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "relevant documents have another text in the index" in said and "the values are too high" in said
    report = (tmp_path / "result" / "report.md").read_text(encoding="utf-8")
    assert "the values are too high" in " ".join(report.split())
    assert main(["index", *titles, "--indexes", "bm25", "--output", str(tmp_path / "same")]) == 0
    flags = ["--split", "train", "--systems", str(tmp_path / "same"), "--measures", "nDCG@10"]
    assert main(["evaluate", *titles, *flags, "--output", str(tmp_path / "right")]) == 0
    assert "another text" not in " ".join(capsys.readouterr().err.split())
