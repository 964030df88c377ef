"""A report says of each system what was measured, how sure that is, and how it differs from the first."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import toys
from encloze import recipe
from encloze.cli.main import main
from encloze.commands.evaluate import Evaluate
from encloze.commands.robustness import Robustness
from encloze.data.counts import Counts
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.formats.generated_queries import Asked
from encloze.data.records import Judgments, Run
from encloze.data.runs import read_run, write_run
from encloze.errors import EnclozeError, StorageError
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import measure
from encloze.evaluation.perturbations.case import Case
from encloze.evaluation.report import Judged, Report, file_name, file_names, judge
from encloze.evaluation.significance import bootstrap, holm, randomisation_test
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.expansions.rm3 import Rm3
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.bm25 import Bm25 as Bm25Index
from encloze.systems.base import System, titles
from encloze.systems.bm25 import Bm25
from encloze.systems.hybrid import Hybrid
from encloze.systems.index import Index
from encloze.systems.model import Model
from encloze.systems.reranked import Reranked
from encloze.systems.run import RunFile
from encloze.systems.seeds import Seeds

NAMES = ("nDCG@10", "RR@10")


def ranking(place: int) -> dict[str, float]:
    """Ten documents, ``right`` at a place from 0."""
    ids = [f"wrong{number}" for number in range(9)]
    ids.insert(place, "right")
    return {id_: float(10 - number) for number, id_ in enumerate(ids)}


JUDGMENTS: Judgments = {f"q{number:02}": {"right": 1} for number in range(30)}
POOR: Run = {query: ranking(number % 5 + 2) for number, query in enumerate(JUDGMENTS)}
GOOD: Run = {query: ranking(number % 3) for number, query in enumerate(JUDGMENTS)}
ALIKE: Run = {query: ranking((number + 1) % 5 + 2) for number, query in enumerate(JUDGMENTS)}


@pytest.fixture(scope="module")
def report() -> Report:
    runs = [Judged("poor", POOR, 1.25), Judged("good/v2", GOOD, None, "read from a file"), Judged("alike", ALIKE)]
    return judge("toys", "test", JUDGMENTS, runs, ["ndcg@10", "mrr@10", "nDCG@10"])


def test_measures_are_named_once_and_in_order(report: Report) -> None:
    assert report.measures == NAMES and report.queries == tuple(JUDGMENTS)
    assert [system.name for system in report.systems] == ["poor", "good/v2", "alike"]


def test_the_values_are_the_measures_of_the_runs(report: Report) -> None:
    for system, run in zip(report.systems, (POOR, GOOD, ALIKE), strict=True):
        for name, values in measure(run, JUDGMENTS, NAMES).items():
            assert (system.values[name] == values).all()
    assert report.systems[1].values["RR@10"][:4].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1])


def test_every_system_is_compared_with_the_first_by_the_first_measure(report: Report) -> None:
    values = [system.values["nDCG@10"] for system in report.systems]
    corrected = holm([randomisation_test(other, values[0]) for other in values[1:]])
    assert [other.system for other in report.comparisons] == ["good/v2", "alike"]
    for comparison, other, p_value in zip(report.comparisons, values[1:], corrected, strict=True):
        assert comparison.difference == estimate([other - values[0]]).interval() and comparison.p_value == p_value
    good, alike = report.comparisons
    assert good.difference.low > 0 and good.p_value < 0.01
    assert alike.difference.mean == pytest.approx(0, abs=1e-9) and alike.p_value > 0.5


def test_one_system_alone_is_not_compared() -> None:
    report = judge("toys", "test", JUDGMENTS, [Judged("poor", POOR)])
    assert report.comparisons == ()
    assert report.measures == ("nDCG@10", "RR@10", "R@100", "AP")


def test_the_seed_draws_the_tests() -> None:
    runs = [Judged("poor", POOR), Judged("alike", ALIKE)]
    first, again, other = (judge("toys", "test", JUDGMENTS, runs, NAMES, seed=seed) for seed in (1, 1, 2))
    assert first.means == again.means != other.means and first.comparisons == again.comparisons


def test_the_table_shows_means_intervals_differences_and_times(report: Report) -> None:
    head, poor, good, alike = report.rows()
    assert head == ["system", "nDCG@10", "RR@10", "nDCG@10 - poor", "p (Holm)", "ms/query"]
    interval = bootstrap(measure(GOOD, JUDGMENTS, NAMES)["RR@10"])
    assert good[2] == f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]" and good[2].startswith(
        "0.6111 ["
    )
    assert poor[0] == "poor" and poor[3:] == ["", "", "1.2"]
    assert good[3].startswith("+0.") and good[4] < "0.01" and good[5] == ""
    assert len({len(row) for row in (head, poor, good, alike)}) == 1


def test_times_are_left_out_where_none_was_taken() -> None:
    report = judge("toys", "test", JUDGMENTS, [Judged("poor", POOR), Judged("good", GOOD)], NAMES)
    assert report.rows()[0][-1] == "p (Holm)"


def test_the_markdown_is_a_table_with_its_notes(report: Report) -> None:
    lines = report.markdown().splitlines()
    assert lines[0] == "toys, test: 30 queries, means with 95 % bootstrap intervals."
    assert lines[2].startswith("| system | nDCG@10 | RR@10 |") and set(lines[3]) == set("| -")
    assert [line.split(" | ")[0] for line in lines[4:7]] == ["| poor", "| good/v2", "| alike"]
    assert all(line.count("|") == lines[2].count("|") for line in lines[3:7])
    assert lines[-1] == "- good/v2: read from a file"


def test_a_saved_report_has_the_values_of_each_query(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    head, *rows = [line.split("\t") for line in (tmp_path / "per_query.tsv").read_text(encoding="utf-8").splitlines()]
    assert head == ["query", *(f"{system} {name}" for system in ("poor", "good/v2", "alike") for name in NAMES)]
    assert [row[0] for row in rows] == list(JUDGMENTS)
    expected = [system.values[name] for system in report.systems for name in NAMES]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), np.stack(expected, 1), atol=5e-7)


def test_saved_runs_read_back_to_the_same_measures(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    assert sorted(file.name for file in (tmp_path / "runs").iterdir()) == ["alike.trec", "good-v2.trec", "poor.trec"]
    for system in report.systems:
        read = read_run(tmp_path / "runs" / f"{file_name(system.name)}.trec")
        assert read == system.run
        for name, values in measure(read, JUDGMENTS, NAMES).items():
            assert (values == system.values[name]).all()


def test_one_query_has_no_interval_and_its_report_is_json_that_reads_back(tmp_path: Path) -> None:
    one = {query: JUDGMENTS[query] for query in ["q00"]}
    alone = judge("toys", "test", one, [Judged("poor", POOR), Judged("good", GOOD)], NAMES)
    alone.save(tmp_path)
    said = json.loads((tmp_path / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert said["systems"][1]["against_baseline"]["low"] is None
    assert Report.load(tmp_path).comparisons == alone.comparisons


def test_saved_figures_are_those_of_the_report(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == report.markdown()
    figures = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert (figures["dataset"], figures["split"], figures["queries"]) == ("toys", "test", 30)
    poor, good, _ = figures["systems"]
    assert poor["milliseconds_per_query"] == 1.25 and "against_baseline" not in poor
    assert good["note"] == "read from a file"
    assert good["measures"]["RR@10"] == bootstrap(report.systems[1].values["RR@10"])._asdict()
    assert good["against_baseline"] == {
        **report.comparisons[0].difference._asdict(),
        "p_holm": report.comparisons[0].p_value,
    }


def test_systems_whose_names_make_one_file_name_both_keep_their_runs(tmp_path: Path) -> None:
    judge("toys", "test", JUDGMENTS, [Judged("a/b", POOR), Judged("a b", GOOD)], NAMES).save(tmp_path)
    read = [read_run(file) for file in sorted((tmp_path / "runs").iterdir())]
    assert len(read) == 2 and POOR in read and GOOD in read


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("bm25", "bm25"),
        ("models/a b", "models-a-b"),
        ("..", "system"),
        ("", "system"),
        ("דגם 2", "דגם-2"),
        ("/x.", "x"),
    ],
)
def test_any_name_becomes_the_name_of_a_file(text: str, name: str) -> None:
    assert file_name(text) == name


def test_long_names_of_files_are_cut_and_stay_apart() -> None:
    names = [file_name(f"{'ש' * 200} {end}") for end in "ab"]
    assert names[0] != names[1] and all(len(name.encode()) < 150 for name in names)
    assert file_names(["x", "x-3", "x", "x", "x-2"]) == ["x", "x-3", "x-2", "x-4", "x-2-2"]


# ---------------------------------------------------------------------------------------------------------- evaluate


@pytest.mark.parametrize(
    ("late", "says"),
    [
        (Index(Path("gone")), "gone is no index"),
        (Model("gone"), "'gone' is no folder here"),
        (Reranked(Bm25(), "gone"), "'gone' is no folder here"),
        (Hybrid("gone"), "'gone' is no folder here"),
        (Seeds((Bm25(), Index(Path("gone")))), "gone is no index"),
        (RunFile(Path("gone.trec")), "gone.trec"),
    ],
)
def test_what_the_last_system_lacks_is_said_before_the_first_has_its_turn(
    late: System, says: str, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bm25, "ready", None)
    with pytest.raises(EnclozeError, match=re.escape(says)):
        Evaluate(Beir(dataset), systems=(Bm25(), late)).run()


def test_evaluating_writes_a_report_that_its_own_runs_repeat(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "report"
    first = Evaluate(dataset=Beir(dataset), systems=(Bm25(), Bm25(k1=0.1)), output=output).run()
    assert [system.name for system in first.systems] == ["bm25", "bm25 (k1 0.1)"]
    assert first.systems[0].milliseconds is not None
    files = {"report.md", "report.json", "per_query.tsv", "runs", "recipe.yaml", "versions.json", "inputs.json"}
    assert files | {"manifest.json"} == {file.name for file in output.iterdir()}
    again = Evaluate(dataset=Beir(dataset), systems=(RunFile(output / "runs" / "bm25.trec"),)).run()
    for name, values in again.systems[0].values.items():
        assert (values == first.systems[0].values[name]).all()
    assert again.systems[0].milliseconds is None
    with pytest.raises(StorageError, match="exists already"):
        Evaluate(dataset=Beir(dataset), systems=(Bm25(),), output=output).run()


def test_a_run_file_that_lacks_queries_says_so(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.run").write_text("q-library-history Q0 library-history 1 2.5 mine\n", encoding="utf-8")
    report = Evaluate(dataset=Beir(dataset), systems=(RunFile(tmp_path / "mine.run"),)).run()
    assert report.systems[0].name == "mine"
    assert report.systems[0].note == "9 judged queries are not in it and count 0"
    assert report.systems[0].values["RR@10"].sum() == 1


def test_queries_of_a_run_that_nobody_judged_are_counted(dataset: Path, tmp_path: Path) -> None:
    lines = [f"{row['_id']} Q0 library-history 1 2.5 mine\n" for row in toys.queries()]
    (tmp_path / "mine.run").write_text("".join(lines), encoding="utf-8")
    report = Evaluate(dataset=Beir(dataset), systems=(RunFile(tmp_path / "mine.run"),)).run()
    assert report.systems[0].note == "30 of its queries are not judged and do not count"


def test_what_does_not_fit_together_is_counted_and_kept(dataset: Path, tmp_path: Path) -> None:
    """A query without text, one without relevant documents, one whose documents are not there: one rule for all."""
    file = dataset / "qrels" / "test.tsv"
    head, first, second, *rest = file.read_text("utf-8").splitlines()
    first, second = first.replace("\t1", "\t0"), second.replace("\torchard", "\tgone")
    more = rest[0].partition("\t")[0]
    lines = [head, first, second, *rest, "q-nowhere\tlibrary-history\t1", f"{more}\tgone-too\t1"]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    with pytest.warns(UserWarning, match="are not in"):
        report = Evaluate(dataset=Beir(dataset), systems=(Bm25(),), output=tmp_path / "out").run()
        card = Robustness(Beir(dataset), (Bm25(),), perturbations=(Case(),)).run()
    assert report.counts == card.counts == Counts(11, 1, queries=40, no_text=1, documents=40, lost=2, all_lost=1)
    assert (
        report.notes
        == card.notes
        == [
            "1 judged queries have no text: they are left out",
            "1 judged queries have no relevant document: they count 0",
            "1 judged queries ask for documents that are not in the corpus, all of them: they count 0",
            "2 judged documents are not in the corpus: no system that reads it can find them",
        ]
    )
    assert len(report.queries) == len(card.queries) == 10 and "10 queries, 40 documents" in report.title()
    assert report.systems[0].values["nDCG@10"].mean() == card.systems[0].clean.mean()
    assert Report.load(tmp_path / "out").counts == report.counts
    write_run(tmp_path / "own.trec", {"q-nowhere": {"library-history": 1.0}})
    alone = Evaluate(dataset=Beir(dataset), systems=(RunFile(tmp_path / "own.trec"),)).run()
    assert len(alone.queries) == 11 and alone.counts == Counts(11, 1)  # a run needs no texts


def test_a_system_that_finds_nothing_is_read_again(tmp_path: Path) -> None:
    judgments: Judgments = {"q1": {"a": 1}, "q2": {"b": 1}}
    runs = [Judged("some", {"q1": {"a": 1.0}, "q2": {"a": 1.0}}), Judged("none", {"q1": {}, "q2": {}})]
    report = judge("here", "test", judgments, runs)
    report.save(tmp_path)
    again = Report.load(tmp_path)
    assert again.systems[1].run == {} and again.systems[1].values["nDCG@10"].sum() == 0


def test_a_folder_with_a_run_is_judged_by_it(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mined").mkdir()
    (tmp_path / "mined" / "run.trec").write_text("q-library-history Q0 library-history 1 2.5 mine\n", encoding="utf-8")
    report = Evaluate(dataset=Beir(dataset), systems=(System.named(str(tmp_path / "mined")),)).run()
    assert report.systems[0].name == "mined" and report.systems[0].values["RR@10"].sum() == 1


def test_bm25_is_tuned_on_another_split_and_says_how(dataset: Path) -> None:
    tuned = Bm25(tune_on="dev")
    report = Evaluate(dataset=Beir(dataset), systems=(Bm25(), tuned)).run()
    assert report.systems[1].name == "bm25 tuned"
    assert report.systems[1].note.startswith("k1 ") and report.systems[1].note.endswith("were chosen on the split dev")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "systems is empty: name at least one, as in --systems bm25,minilm"),
        ({"systems": (Reranked(Bm25(tune_on="test"), "x"),)}, "a system is tuned on 'test', the split that is judged"),
        ({"systems": (Bm25(),), "depth": 0}, "depth must be 1 or more, not 0"),
        ({"systems": (Bm25(),), "measures": ("ndgc@10",)}, "no measure is called 'ndgc@10'"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused_before_any_work(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Evaluate(dataset=Beir(Path("x")), **settings)  # type: ignore[arg-type]


def test_questions_in_one_language_are_judged_on_documents_in_another(tmp_path: Path) -> None:
    """As in XQuAD, whose languages share their ids: `asked` takes documents here, questions and judgments there."""
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
        data = Asked(Beir(tmp_path / corpus), tmp_path / questions)
        report = Evaluate(dataset=data, systems=(Bm25(),), measures=("RR@10",)).run()
        values[corpus, questions] = report.systems[0].values["RR@10"].tolist()
    assert values == {("en", "en"): [1, 1, 1], ("en", "de"): [0, 1, 0], ("de", "de"): [1, 0, 1]}


def test_systems_of_one_name_are_numbered() -> None:
    assert titles([Bm25(), Bm25(), Bm25(title="mine"), Bm25()]) == ["bm25", "bm25 #2", "mine", "bm25 #3"]
    twins = [Bm25(title=title) for title in ("F #", "F #", "a #2", "a", "a")]
    assert titles(twins) == ["F #", "F # #2", "a #2", "a", "a #3"]


def test_an_index_that_lacks_judged_documents_says_so(dataset: Path, tmp_path: Path) -> None:
    rows = (dataset / "corpus.jsonl").read_text("utf-8").splitlines(keepends=True)
    whole = DatasetSplit(Beir(dataset), "test")
    lost = next(iter(whole.judgments[whole.queries[0].id]))
    smaller = shutil.copytree(dataset, tmp_path / "smaller")
    kept = [row for row in rows if json.loads(row)["_id"] != lost]
    (smaller / "corpus.jsonl").write_text("".join(kept), "utf-8")
    assert main(["index", "--corpus", str(smaller), "--indexes", "bm25", "--output", str(tmp_path / "index")]) == 0
    report = Evaluate(Beir(dataset), systems=(Index(tmp_path / "index"),)).run()
    assert report.systems[0].note == "1 judged documents are not in it: it cannot find them"


def test_a_measure_that_looks_deeper_is_measured_so_deep(dataset: Path) -> None:
    shallow = Evaluate(Beir(dataset), systems=(Bm25(),), measures=("R@1", "P@20"), depth=3).run()
    assert max(map(len, shallow.systems[0].run.values())) > 3
    usual = Evaluate(Beir(dataset), systems=(Bm25(),), depth=3).run()
    assert max(map(len, usual.systems[0].run.values())) > 10  # R@100 is one of them
    plain = Evaluate(Beir(dataset), systems=(Bm25(),), measures=("R@1", "AP"), depth=3).run()
    assert max(map(len, plain.systems[0].run.values())) == 3


def test_memory_stands_in_the_table(dataset: Path) -> None:
    head, row = Evaluate(Beir(dataset), systems=(Bm25(),), memory=True).run().rows()
    assert head[-1] == "memory MiB" and float(row[-1]) > 5


def test_every_kind_of_system_is_written_and_built_again(tmp_path: Path) -> None:
    """Also one whose settings are themselves a member of a family."""
    systems = (
        Bm25(0.9, 0.4, Stemmed("german"), Rm3()),
        Hybrid("minilm", bm25=Bm25Index(0.5, 0.5, Stemmed("german")), fusion=Weighted(), tune_on="dev"),
        Model("minilm", views=("dense",), title="x"),
        Index(tmp_path / "index", ("flat",), tune_on="dev"),
        Reranked(Hybrid("minilm"), "r"),
        RunFile(tmp_path / "a.trec"),
        Seeds((Hybrid("a"), Hybrid("b"))),
    )
    assert {system.name for system in systems} == set(System.members())
    made = Evaluate(Beir(tmp_path), systems=systems)
    tree = yaml.safe_load(recipe.dump(made))
    assert recipe.build(Evaluate, tree) == made


def test_systems_tell_what_of_their_settings_is_not_as_usual() -> None:
    tuned, stemmed = Bm25(k1=0.9, tune_on="dev"), Bm25(0.9, 0.4, Stemmed("german"), Rm3(documents=5))
    assert titles([tuned, stemmed]) == [
        "bm25 tuned",
        "bm25 (k1 0.9, b 0.4) stemmed (language german) rm3 (documents 5)",
    ]


def test_a_model_may_be_called_like_a_run(dataset: Path, model: Path) -> None:
    called = model.rename(model.with_name("exp.run"))
    assert recipe.build(Evaluate, {"dataset": str(dataset), "systems": [str(called)]}).systems == (Model(str(called)),)


def test_a_run_file_that_is_not_there_is_no_model(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["evaluate", "--dataset", str(dataset), "--systems", f"bm25,{tmp_path / 'gone.trec.gz'}"]
    assert main(given) == 2
    assert f"{tmp_path / 'gone.trec.gz'}: cannot be read: No such file" in " ".join(capsys.readouterr().err.split())
