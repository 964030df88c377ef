"""The Python API as a user writes it: the example of the documentation, as a script, and calls that go wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encloze
import toys
from encloze import Corpus, CrossEncoder, Dataset, Encoder, Retriever
from encloze.commands.base import Command
from encloze.errors import CheckpointError, DataError, EnclozeError, RecipeError

SHORT = {"steps": 2, "precision": "float32"}
EXAMPLE = """
import encloze
from encloze import Corpus, Dataset, Encoder, Retriever

corpus = Corpus.from_dicts([{"id": str(n), "title": "", "text": text} for n, text in enumerate(TEXTS)])
data = Dataset.load("my_data")
encoder = Encoder.from_pretrained("model", device="cpu")

encoder = encloze.pretrain(encoder, corpus, objective="retromae", output="adapted", training=SHORT)
negatives = encloze.mine(data, split="train", sources=["bm25", encoder], num_negatives=7)
encoder = encloze.finetune(
    encoder, data, negatives=negatives, losses=["contrastive"], output="retriever", training=SHORT
)

q = encoder.encode_queries(["where do rivers go"])
d = encoder.encode_documents(corpus)
scores = encoder.similarity(q, d)

retriever = Retriever.build(corpus, encoder, indexes=["flat", "bm25"], output="index")
retriever = Retriever.load("index")
hits = retriever.search("rivers", k=10)
batch = retriever.search(["rivers", "engines"], k=3)
report = encloze.evaluate(["bm25", encoder], data, split="test").to_pandas()
encoder.save_pretrained("saved")
"""


def test_the_example_of_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toys.write_dataset(tmp_path / "my_data")
    toys.write_model(tmp_path / "model")
    names: dict[str, Any] = {"TEXTS": toys.texts(), "SHORT": SHORT}
    exec(EXAMPLE, names)
    assert names["q"].shape == (1, 32) and names["d"].shape == (40, 32) and names["scores"].shape == (1, 40)
    np.testing.assert_allclose(names["scores"], names["q"] @ names["d"].T, atol=1e-5)
    assert len(names["hits"]) == 10 and names["hits"][0].text
    assert [len(hits) for hits in names["batch"]] == [3, 3] and names["batch"][1].query == "engines"
    assert names["report"]["system"].iloc[0] == "bm25" and len(names["report"]) == 2
    assert names["negatives"].negatives > 0 and (tmp_path / "saved" / "model.safetensors").is_file()


def test_the_example_as_a_script(tmp_path: Path) -> None:
    """A new process, as users run it, with an in-memory index: no training, so that it is cheap."""
    script = tmp_path / "example.py"
    script.write_text(
        "from encloze import Retriever\n"
        "retriever = Retriever.build([{'id': 'a', 'text': 'rivers flow'}, {'id': 'b', 'text': 'violins'}], "
        "indexes=['bm25'])\n"
        "print([hit.id for hit in retriever.search('rivers')])\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "['a']\n" and list(tmp_path.iterdir()) == [script]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BM25 index folder of the toys."""
    folder = tmp_path_factory.mktemp("words")
    Retriever.build(toys.write_dataset(folder / "toys"), indexes=["bm25"], output=folder / "index")
    return folder / "index"


def test_a_list_of_queries_is_never_one_query(words: Path) -> None:
    retriever = Retriever.load(words)
    found = retriever.search(["river", "engine"])
    assert [hits.query for hits in found] == ["river", "engine"]
    assert found[0] == retriever.search("river") != found[1] == retriever.search("engine")
    assert retriever.search([]) == []


def test_results_are_tables(words: Path) -> None:
    pandas = pytest.importorskip("pandas")
    hits = Retriever.load(words).search("river history", k=3)
    table = hits.to_pandas()
    assert list(table.columns) == ["query", "rank", "id", "score", "title", "text", "fields"] and list(
        table["rank"]
    ) == [1, 2, 3]
    assert table["id"][0] == hits[0].id == "river-history"
    both = Retriever.load(words).search(["river", "engine"], k=2).to_pandas()
    assert isinstance(both, pandas.DataFrame) and list(both["query"]) == ["river", "river", "engine", "engine"]
    page = hits._repr_html_()
    assert "<table>" in page and "river-history" in page and "river history" in page


def test_an_index_in_memory_needs_no_folder(tmp_path: Path, cache: Path) -> None:
    frame = pytest.importorskip("pandas").DataFrame(toys.documents())
    retriever = Retriever.build(frame, indexes=[{"type": "bm25", "k1": 0.9}])
    folder = retriever.folder
    assert folder and folder.is_relative_to(cache) and len(retriever) == 40
    assert "Retriever(40 documents, views: bm25" in repr(retriever)
    assert retriever.search("violin repair")[0].id == "violin-repair"
    del retriever
    assert not folder.exists() and list(tmp_path.iterdir()) == []


def test_the_corpus_of_an_index_in_memory_outlives_it() -> None:
    retriever = Retriever.build(toys.documents(), indexes=["bm25"])
    corpus, hits = retriever.corpus, retriever.search("violin repair")
    del retriever
    assert Retriever.build(corpus, indexes=["bm25"]).search("violin repair") == hits


def test_the_working_folder_may_change(words: Path, dataset: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(words.parent)
    retriever = Retriever.load(words.name)
    monkeypatch.chdir(tmp_path)
    systems = (system for system in [retriever, Retriever.build(dataset, indexes=["bm25"])])
    report = encloze.evaluate(systems, Dataset.load(dataset), measures=["nDCG@10"])
    assert [system.name for system in report.systems] == ["index", "retriever"]


def test_a_command_keeps_an_index_in_memory(dataset: Path) -> None:
    command = encloze.Evaluate(systems=[Retriever.build(dataset, indexes=["bm25"])], dataset=dataset)
    assert [system.name for system in command.run().systems] == ["retriever"]


def test_no_hits_are_a_table_with_columns(words: Path) -> None:
    for hits in (Retriever.load(words).search("zzz"), Retriever.load(words).search([])):
        assert list(hits.to_pandas().columns) == ["query", "rank", "id", "score", "title", "text", "fields"]


def test_a_retriever_and_an_encoder_are_systems(dataset: Path, model: Path, words: Path) -> None:
    retriever, encoder = Retriever.load(words), Encoder.from_pretrained(model)
    report = encloze.evaluate([retriever, "bm25", encoder], Dataset.load(dataset), measures=["nDCG@10"])
    assert [system.name for system in report.systems] == ["index", "bm25", "model"]
    first, second, _ = (system.values["nDCG@10"].tolist() for system in report.systems)
    assert first == second
    assert "<table" in report._repr_html_()


def test_an_index_written_by_a_function_can_be_repeated(dataset: Path, tmp_path: Path) -> None:
    Retriever.build(dataset, indexes=["bm25"], output=tmp_path / "index")
    encloze.rerun(tmp_path / "index", output=tmp_path / "again")
    first, second = Retriever.load(tmp_path / "index"), Retriever.load(tmp_path / "again")
    assert first.search("river") == second.search("river")


def test_a_re_ranker_from_a_function(dataset: Path, model: Path, tmp_path: Path, words: Path) -> None:
    negatives = encloze.mine(dataset, num_negatives=5)
    reranker = encloze.finetune_reranker(
        str(model), dataset, negatives=negatives, output=tmp_path / "reranker", training=SHORT
    )
    assert isinstance(reranker, CrossEncoder) and reranker.score([("river", "a river")]).shape == (1,)
    retriever = Retriever.load(words, reranker=reranker, rerank_depth=3)
    hits, *_ = retriever.search(["river history"], k=5)
    assert {"found"} <= set(hits[0].parts)
    teacher = encloze.score(dataset, reranker, negatives)
    assert teacher.pairs > 20 and (teacher.folder / "run.trec").is_file()


def test_every_command_is_a_function() -> None:
    without = {"demo", "list"} | {"search", "add", "update", "delete", "compact"}  # of the terminal; of Retriever
    functions = {name for name in Command.members() if callable(getattr(encloze, name, None))}
    assert functions == set(Command.members()) - without
    for name in functions:
        assert "Example:" in (getattr(encloze, name).__doc__ or ""), name


def test_functions_for_evaluation(dataset: Path, model: Path, tmp_path: Path) -> None:
    table = encloze.compare(["bm25", str(model)], [dataset], measures=["nDCG@10"])
    assert [system.name for system in table.systems] == ["bm25", "model"]
    card = encloze.robustness(["bm25"], dataset, query_perturbations=["typos"], output=tmp_path / "card")
    assert card.systems[0].name == "bm25" and (tmp_path / "card" / "recipe.yaml").is_file()
    page = encloze.report([tmp_path / "card"], output=tmp_path / "page").page
    assert page.is_file()
    inspection = encloze.inspect(toys.documents())
    assert inspection.documents == 40
    assert encloze.index(dataset, output=tmp_path / "words", indexes=["bm25"]).documents == 40


def test_merging_two_encoders(model: Path, dataset: Path, tmp_path: Path) -> None:
    adapted = encloze.finetune(str(model), Dataset.load(dataset), output=tmp_path / "adapted", training=SHORT)
    merged = encloze.merge(adapted, str(model), output=tmp_path / "merged")
    assert isinstance(merged, Encoder) and merged.dim == adapted.dim


WRONG: dict[str, tuple[Callable[[Path, Path], Any], type[EnclozeError], str]] = {
    "index with a path as a string and a list for a tuple": (
        lambda data, _: encloze.Index(output="i", corpus="texts.jsonl", indexes=("bm25",)).run(),
        RecipeError,
        r"Index has 1 error:\n  corpus: texts.jsonl: there is no such file or folder",
    ),
    "a string where a list is meant": (
        lambda data, _: encloze.evaluate("bm25", data),
        RecipeError,
        r"systems: expected a list, found the string 'bm25'. Write \['bm25'\]",
    ),
    "a list where a string is meant": (
        lambda data, _: encloze.evaluate(["bm25"], data, split=["test"]),
        RecipeError,
        r"split: expected a string, found \['test'\]",
    ),
    "an unknown setting": (
        lambda data, _: encloze.evaluate(["bm25"], data, splitt="dev"),
        RecipeError,
        "splitt: unknown setting; did you mean 'split'",
    ),
    "an unknown member": (
        lambda data, _: Retriever.build(data, indexes=["bm52"]),
        RecipeError,
        r"indexes\[0\]: unknown index 'bm52'; did you mean 'bm25'",
    ),
    "a string for the indexes": (
        lambda data, _: Retriever.build(data, indexes="bm25"),
        RecipeError,
        "indexes: expected a list, found the string 'bm25'",
    ),
    "nothing to build": (lambda data, _: Retriever.build(data), RecipeError, "indexes: nothing to build"),
    "an index without an encoder": (
        lambda data, _: Retriever.build(data, indexes=["flat"]),
        RecipeError,
        "flat is built from dense representations, which need an encoder",
    ),
    "an encoder of another type": (
        lambda data, _: Retriever.build(data, 3, indexes=["flat"]),
        RecipeError,
        "encoder: expected an Encoder or the name of one, found int",
    ),
    "a folder that is not an index": (
        lambda data, _: Retriever.load(data),
        CheckpointError,
        "is not an index: it has no index.json",
    ),
    "a folder that is not a path": (lambda data, _: Retriever.load(3), RecipeError, "folder: expected a path"),
    "a query that is not text": (
        lambda _, words: Retriever.load(words).search(3),
        RecipeError,
        "queries: expected a list of strings, found int 3",
    ),
    "a number among the queries": (
        lambda _, words: Retriever.load(words).search(["river", 3]),
        RecipeError,
        r"queries\[1\]: expected a string, found int 3",
    ),
    "no hits wanted": (
        lambda _, words: Retriever.load(words).search("river", k=0),
        RecipeError,
        "k: expected a whole number of 1 or more, found 0",
    ),
    "a data set that is none": (lambda *_: Dataset.load("nowhere"), DataError, "nowhere: there is no such file"),
    "documents without text": (lambda *_: Corpus.from_dicts([{"id": "1"}]), DataError, r"documents\[0\] has no text"),
    "a path that cannot be an output": (
        lambda data, _: encloze.evaluate(["bm25"], data, output="x" * 300),
        RecipeError,
        "output: expected a path, found 'xxx.* longer than 255 bytes",
    ),
    "an empty path": (lambda data, _: encloze.evaluate(["bm25"], data, output=""), RecipeError, "an empty string"),
    "an empty name": (lambda *_: encloze.evaluate(["bm25"], ""), RecipeError, "expected a name or a path"),
    "a path that is too long": (lambda *_: encloze.evaluate(["bm25"], "x" * 5000), RecipeError, "File name too long"),
    "a number that is none": (
        lambda data, _: Retriever.build(data, indexes=[{"type": "bm25", "k1": float("nan")}]),
        RecipeError,
        "k1: expected a number, found nan",
    ),
    "a negative seed": (
        lambda data, _: encloze.evaluate(["bm25"], data, seed=-1),
        RecipeError,
        "seed: must be 0 or more and at most 4294967295, not -1",
    ),
    "a string for the sources": (lambda data, _: encloze.mine(data, sources="bm25"), RecipeError, "expected a list"),
    "no sources": (lambda data, _: encloze.mine(data, sources=None), RecipeError, "sources"),
    "a string for the folders": (lambda *_: encloze.report("x", output="o"), RecipeError, "expected a list"),
    "no recipe": (
        lambda *_: encloze.run(None),
        RecipeError,
        "expected a YAML file or the name of a recipe included in encloze",
    ),
    "a class for an encoder": (lambda data, _: Retriever.build(data, Encoder), RecipeError, "expected an Encoder"),
    "a fusion of one weight too many": (
        lambda data, _: Retriever.build(
            data, indexes=["bm25"], output="o", fusion={"type": "weighted", "weights": [1, 1]}
        ),
        RecipeError,
        "the weighted fusion has 2 weights for 1 index",
    ),
    "a re-ranker of another type": (
        lambda _, words: Retriever.load(words, reranker=3),
        RecipeError,
        "reranker: expected a cross-encoder or the name of one, found int",
    ),
    "a re-ranking depth that is no number": (
        lambda _, words: Retriever.load(words, rerank_depth="x"),
        RecipeError,
        "rerank_depth: expected a whole number",
    ),
    "too many arguments": (lambda data, _: encloze.Search(*range(20)), RecipeError, "20 arguments for 14 settings"),
    "a recipe for another command": (
        lambda data, _: encloze.run("contrastive", dataset=data, output="o"),
        RecipeError,
        "contrastive",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_a_clear_error(
    case: str, dataset: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call(dataset, words)
    assert [path.name for path in tmp_path.iterdir()] == ["toys"]
