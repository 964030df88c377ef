"""A report shows the content of result folders, loads nothing from elsewhere, and names what it cannot read."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

import toys
from encloze.cli.main import main
from encloze.commands.compare import Compare
from encloze.commands.evaluate import Evaluate
from encloze.commands.robustness import Robustness
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.runs import read_run, write_run
from encloze.evaluation.comparison import ComparisonTable
from encloze.evaluation.query_perturbations.typos import Typos
from encloze.storage.atomic import atomic_folder
from encloze.storage.provenance import write_provenance
from encloze.systems.bm25 import Bm25
from encloze.systems.run import RunFile

EVIL = '<script>alert("query")</script> & "it\' |'
WRITTEN = ("report.html", "report.md", "report.json")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Result folders of a comparison, a robustness report and a training run, on texts that contain HTML code."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENCLOZE_CACHE", str(folder / "cache"))
        made = toys.write_dataset(folder / "toys")
        for file, text in (("queries.jsonl", EVIL), ("corpus.jsonl", "</script><b>bold</b>")):
            lines = [json.loads(line) for line in (made / file).read_text("utf-8").splitlines()]
            lines = [line | {"text": f"{line['text']} {text}"} for line in lines]
            (made / file).write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        Evaluate(Beir(made), systems=(Bm25(),), output=folder / "evaluated").run()
        run = read_run(next((folder / "evaluated" / "runs").iterdir()))
        worse = {query: dict(zip(scores, reversed(scores.values()), strict=True)) for query, scores in run.items()}
        write_run(folder / "worse.trec", worse)
        Compare(
            (Beir(made),), (RunFile(folder / "worse.trec"), Bm25(title="BM25 <b>")), output=folder / "compared"
        ).run()
        Robustness(Beir(made), (Bm25(),), query_perturbations=(Typos(),), output=folder / "card").run()
    with atomic_folder(folder / "model") as training:
        steps = [
            {"step": step, "decoder": 9 / step, "decoder_accuracy": 0.1, "precision": "float32"} for step in (1, 2)
        ]
        (training / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in steps), encoding="utf-8")
        (training / "monitors.jsonl").write_text('{"step": 0, "retrieval.zero_shot": 0.25}\n', encoding="utf-8")
        write_provenance(training, "verb: pretrain\n", {"corpus": made})
    return folder


@pytest.fixture(scope="module")
def shown(results: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of a report on all results, with texts."""
    return reported(results, tmp_path_factory.mktemp("shown") / "out", "--title", "What was found")


ALL = ("compared", "card", "model")


def reported(results: Path, output: Path, *more: str, folders: Sequence[str] = ALL) -> dict[str, str]:
    folders = [str(results / name) for name in folders]
    assert main(["report", *folders, "--output", str(output), *more]) == 0
    return {name: (output / name).read_text(encoding="utf-8") for name in WRITTEN}


class Tags(HTMLParser):
    """Elements, attributes and texts of a page as a browser parses them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_shows_the_content_of_the_folders(results: Path, shown: dict[str, str]) -> None:
    page, text = Tags(shown["report.html"]), shown["report.md"]
    for heading in ("compared: toys, test", "card: robustness on toys, test, ", "model: training"):
        assert f"## {heading}" in text and any(heading in found for found in page.texts)
    assert text.startswith("# What was found\n") and page.texts.count("What was found") == 2  # title and heading
    assert "BM25 &lt;b> is better than worse" in text
    assert page.tags.count("svg") == 5  # means, queries, losses, accuracies, a monitor
    assert "| decoder | 9 | 4.5 | 4.5 | 9 | 2 |" in text and "| retrieval.zero_shot | 0.25 |" in text
    assert f"encloze rerun {results / 'compared'}" in text
    assert sum("relevant" in found for found in page.texts) >= 3


def test_the_figures_in_json_are_those_of_the_folders(results: Path, shown: dict[str, str]) -> None:
    said = json.loads(shown["report.json"], parse_constant=pytest.fail)["results"]
    by_verb = {one["verb"]: one for one in said}
    assert by_verb["compare"]["figures"] == json.loads((results / "compared" / "comparison.json").read_text("utf-8"))
    assert by_verb["robustness"]["figures"] == json.loads((results / "card" / "robustness.json").read_text("utf-8"))
    assert by_verb["pretrain"]["curves"]["decoder"] == [[1, 2], [9, 4.5]]
    assert by_verb["pretrain"]["inputs"]["corpus"]["sha256"]


def test_texts_are_escaped(shown: dict[str, str]) -> None:
    page = shown["report.html"]
    found = Tags(page)
    assert found.tags.count("script") == 1 and "b" not in found.tags
    assert any('<script>alert("query")</script> &' in text for text in found.texts)  # as words
    assert page.count("</script>") == 1


def test_the_page_loads_nothing(shown: dict[str, str]) -> None:
    page = shown["report.html"]
    loads = [value for name, value in Tags(page).attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert loads and all(value.startswith("#") for value in loads)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttp", page)


def test_ids_on_the_page_are_unique(shown: dict[str, str]) -> None:
    found = Tags(shown["report.html"]).attributes
    ids = [value for name, value in found if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for name, value in found if name in ("href", "xlink:href")} <= set(ids)


def test_without_texts_no_file_contains_any(
    results: Path, shown: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [json.loads(line)["text"] for line in (results / "toys" / "queries.jsonl").read_text("utf-8").splitlines()]
    for line in (results / "toys" / "corpus.jsonl").read_text("utf-8").splitlines():
        texts += [json.loads(line)["text"], json.loads(line)["title"]]
    words = {word for text in texts for word in re.findall(r"\w{6,}", text)} - {"script"}
    words -= {part for id_ in DatasetSplit(Beir(results / "toys"), "test").corpus.ids for part in id_.split("-")}
    assert len(words) > 10 and any(word in shown["report.md"] for word in words)
    for name, content in reported(results, tmp_path / "hidden", "--no-include-texts").items():
        assert [word for word in words if word in content] == [], name
    assert "Saved the report on 3 results to " in capsys.readouterr().out


def test_changed_and_missing_texts_are_named(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    data = shutil.copytree(results / "toys", tmp_path / "work" / "data")
    run = next((results / "compared").rglob("*.trec"))
    assert main(["evaluate", "--dataset", "data", "--systems", f"bm25,{run}", "--output", "judged"]) == 0
    assert ", relevant)" in reported(Path(), tmp_path / "as-it-was", folders=["judged"])["report.md"]
    with (data / "queries.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"_id": "more", "text": "one more"}\n')
    text = reported(Path(), tmp_path / "changed", folders=["judged"])["report.md"]
    assert f"{data} has changed since judged was written" in text and ", relevant)" not in text
    shutil.move("judged", tmp_path / "judged")
    shutil.rmtree(data)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    shutil.copytree(results / "toys", "data")  # of the same name, and another one
    text = reported(tmp_path, tmp_path / "gone", folders=["judged"])["report.md"]
    assert f"{data} no longer exists" in text and ", relevant)" not in text


def test_names_of_systems_may_contain_patterns_and_bars(results: Path, tmp_path: Path) -> None:
    data = Beir(results / "toys")
    odd = (Bm25(title=r"k\d1 \g<0> |"), Bm25(k1=0.1, title="my  system"), Bm25(title="系" * 200))
    Compare((data,), odd, measures=("NumRet", "nDCG@10"), output=tmp_path / "compared").run()
    Robustness(data, odd, query_perturbations=(Typos(),), output=tmp_path / "card").run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = reported(tmp_path, tmp_path / "out", folders=["compared", "card"])
    assert r"k\d1 \g&lt;0&gt; |" in made["report.html"] and r"k\\d1 \\g&lt;0> \|" in made["report.md"]
    assert "my  system: most degraded queries" in made["report.md"]


def test_a_recipe_without_a_result_is_ignored(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "compared", tmp_path / "all" / "compared")
    (tmp_path / "all" / "recipe.yaml").write_text("verb: compare\n", encoding="utf-8")
    assert "compared" in reported(tmp_path, tmp_path / "out", folders=["all"])["report.md"]


def test_folders_below_are_included_except_unfinished_runs(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "model", tmp_path / "all" / "deep" / "model")
    shutil.copytree(results / "model", tmp_path / "all" / "other.checkpoint")
    assert main(["report", str(tmp_path / "all"), "--examples", "0"]) == 0
    text = (tmp_path / "all-report" / "report.md").read_text(encoding="utf-8")
    assert "## all/deep/model: training (pretrain)" in text and "other.checkpoint" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{empty}", "{results}/gone"], "empty contains no results, nor does a folder below it; "),
        (["{empty}"], "Name folders that encloze wrote: the --output of compare, evaluate"),
        (["{results}/gone"], "gone is not a folder"),
        ([], "folders: is required"),
        (["{results}/model", "--output", "{empty}"], "exists already"),
        (["{results}/model", "--examples", "-1"], "examples must be 0 or more, not -1"),
        (["{damaged}"], "damaged is damaged: log.jsonl has changed since it was written"),
    ],
)
def test_invalid_arguments_are_refused(
    arguments: list[str], said: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    damaged = shutil.copytree(results / "model", tmp_path / "damaged")
    (damaged / "log.jsonl").write_text('{"step": 1, "deco', encoding="utf-8")
    places = {"empty": tmp_path / "empty", "results": results, "damaged": damaged}
    assert main(["report", *(argument.format(**places) for argument in arguments)]) == 2
    assert said in capsys.readouterr().err
    assert not [folder for folder in tmp_path.iterdir() if folder.name.endswith("-report")]


def test_a_loaded_comparison_equals_the_saved_one(results: Path) -> None:
    said = json.loads((results / "compared" / "comparison.json").read_text("utf-8"))
    figures = ComparisonTable.load(results / "compared").to_dict()
    assert figures["queries"] == said["queries"] and figures["systems"] == [
        {**one, "means": {name: pytest.approx(mean, abs=1e-6) for name, mean in one["means"].items()}}
        for one in said["systems"]
    ]
    for now, then in zip(figures["against_first"], said["against_first"], strict=True):
        assert now["p_value"] == pytest.approx(then["p_value"], abs=1e-4) and now["verdict"] == then["verdict"]
