"""MTEB's tasks by name, from copies of what the hub holds, and our systems as MTEB's own search models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encloze import recipe
from encloze.commands.evaluate import Evaluate
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.beir import Beir
from encloze.data.formats.mteb import Mteb
from encloze.data.lines import ErrorCollector
from encloze.errors import DataError, RecipeError
from encloze.evaluation.benchmarks.base import Benchmark
from encloze.interop.mteb import MtebSearch
from encloze.systems.bm25 import Bm25


@pytest.fixture(autouse=True)
def mteb() -> Any:
    """The package mteb, which takes seconds to import; tests are skipped without it."""
    return pytest.importorskip("mteb")


def build(name: str, path: Path | None = None) -> Benchmark:
    tree = {"benchmark": {"type": name, **({"path": str(path)} if path else {})}, "systems": "bm25"}
    command: Evaluate = recipe.build(Evaluate, tree)
    assert command.benchmark is not None
    return command.benchmark


@pytest.fixture
def copied(dataset: Path, tmp_path: Path) -> Path:
    """Return a folder in the layout of MTEB on the hub: one configuration each for corpus, queries and judgments."""
    folder, layout = tmp_path / "copied", Beir(dataset)
    asked, judged = list(layout.queries(ErrorCollector())), list(layout.judgments("test", ErrorCollector()))
    tables = {
        "corpus": [{"_id": d.id, "title": d.title, "text": d.text} for d in layout.documents(ErrorCollector())],
        "queries": [{"_id": query.id, "text": query.text} for query in asked],
        "default": [{"query-id": j.query, "corpus-id": j.document, "score": float(j.grade)} for j in judged],
    }
    head = "---\nconfigs:\n"
    for name, rows in tables.items():
        (folder / name).mkdir(parents=True)
        split = "test" if name == "default" else name
        pq.write_table(pa.Table.from_pylist(rows), folder / name / f"{split}-00000-of-00001.parquet")
        head += f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {name}/*\n"
    (folder / "README.md").write_text(f"{head}---\n", encoding="utf-8")
    return folder


def test_a_copy_of_a_hub_folder_has_the_same_measures_as_beir_layout(copied: Path, dataset: Path) -> None:
    of_copy = Evaluate(benchmark=build("mteb/NFCorpus", copied), systems=(Bm25(),)).run()
    of_beir = Evaluate(Beir(dataset), systems=(Bm25(),), measures=("nDCG@10", "R@100")).run()
    assert of_copy.dataset == "mteb:NFCorpus" and list(of_copy.queries) == sorted(of_beir.queries)
    for measure in ("nDCG@10", "R@100"):
        first, second = (dict(zip(r.queries, r.systems[0].values[measure], strict=True)) for r in (of_copy, of_beir))
        assert first == second


def test_a_folder_in_beir_layout_is_read(dataset: Path) -> None:
    assert build("mteb/NFCorpus", dataset).format() == Beir(dataset)


def test_a_task_has_its_own_measure_split_and_rules(mteb: Any) -> None:
    assert build("mteb/NFCorpus").rules()[:] == (("nDCG@10", "R@100"), 100, False)
    assert build("mteb/ArguAna").rules().ignore_identical_ids
    msmarco = build("mteb/MSMARCO")
    assert msmarco.split() == mteb.get_task("MSMARCO").metadata.eval_splits[0]
    assert msmarco.rules().ignore_identical_ids
    assert build("mteb/BelebeleRetrieval/heb_Hebr-eng_Latn").format() == Mteb("BelebeleRetrieval", "heb_Hebr-eng_Latn")
    assert build("mteb/GermanQuAD-Retrieval").rules().measures == ("RR@5", "nDCG@10", "R@100")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mteb/NFCorpsu", "mteb:NFCorpsu: .*NFCorpus"),
        ("mteb/Banking77Classification", "is a Classification task, and only retrieval tasks are supported"),
        ("mteb/AskUbuntuDupQuestions", "is a Reranking task, and only retrieval tasks are supported"),
        ("mteb/BelebeleRetrieval", "mteb:BelebeleRetrieval has several subsets. Append one to the name"),
        ("mteb/BelebeleRetrieval/heb", "has no subset 'heb'"),
        ("mteb/NFCorpus", "mteb:NFCorpus cannot be read: .* a copy of the hub folder mteb/nfcorpus"),
    ],
)
def test_unusable_tasks_raise_with_a_remedy(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(DataError, match=f"(?s){message}"):
        DatasetSplit(build(name).format(), "test").corpus  # noqa: B018


def test_an_unsupported_main_score_raises() -> None:
    with pytest.raises(DataError, match="is robustness_at_10, which encloze does not compute"):
        build("mteb/InstructIR").rules()


def test_a_benchmark_without_a_task_raises() -> None:
    with pytest.raises(RecipeError, match="the task is missing. Write it after a slash, as in mteb/NFCorpus"):
        build("mteb")


# Systems as models of MTEB


def task_of(dataset: Path, listed: dict[str, list[str]] | None = None) -> Any:
    """Return an MTEB task over a data set, without instructions."""
    from datasets import Dataset as Table
    from mteb.mocks.mock_tasks import MockRetrievalTask

    layout = Beir(dataset)
    judged: dict[str, dict[str, int]] = {}
    for judgment in layout.judgments("test", ErrorCollector()):
        judged.setdefault(judgment.query, {})[judgment.document] = judgment.grade
    documents, queries = layout.documents(ErrorCollector()), layout.queries(ErrorCollector())
    part = {
        "corpus": Table.from_list([{"id": d.id, "title": d.title, "text": d.text} for d in documents]),
        "queries": Table.from_list([{"id": q.id, "text": q.text} for q in queries if q.id in judged]),
        "relevant_docs": judged,
        "top_ranked": listed,
    }
    task = MockRetrievalTask()
    task.metadata = task.metadata.model_copy(update={"eval_splits": ["test"], "name": "Toys"})
    task.dataset, task.data_loaded = {"default": {"test": part}}, True
    return task


@pytest.mark.parametrize("kind", ["bm25", "hybrid"])
def test_mteb_computes_the_same_measures_for_a_system(mteb: Any, kind: str, dataset: Path, model: Path) -> None:
    settings = {} if kind == "bm25" else {"model": str(model), "fusion": "weighted"}
    system = MtebSearch(kind, **settings)
    found = mteb.evaluate(system, task_of(dataset), cache=None, co2_tracker=False, show_progress_bar=False)
    ours = Evaluate(Beir(dataset), systems=(system.system,)).run()
    values = found.task_results[0].scores["test"][0]
    assert values["ndcg_at_10"] == pytest.approx(ours.systems[0].values["nDCG@10"].mean(), abs=1e-5)
    assert found.model_name.startswith("encloze/") and found.model_revision == system.mteb_model_meta.revision
    system.close()


def test_only_top_ranked_documents_are_ranked(dataset: Path) -> None:
    system = MtebSearch("bm25")
    task = task_of(dataset)
    part = task.dataset["default"]["test"]
    system.index(part["corpus"], task_metadata=task.metadata, hf_split="test", hf_subset="default", encode_kwargs={})
    whole = system.search(part["queries"], top_k=len(part["corpus"]))
    listed = {query: sorted(documents)[::2] for query, documents in whole.items()}
    found = system.search(part["queries"], top_k=3, top_ranked=listed)
    for query, documents in found.items():
        kept = [(d, s) for d, s in whole[query].items() if d in listed[query]]
        assert list(documents.items()) == kept[:3] and documents
    system.close()
    with pytest.raises(RuntimeError, match=r"call index\(\) before search\(\)"):
        system.search(part["queries"], top_k=3)


def test_an_instruction_is_appended_to_its_query(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = MtebSearch("bm25")
    task = task_of(dataset)
    system.index(task.dataset["default"]["test"]["corpus"], task_metadata=task.metadata, hf_subset="default")
    plain = system.search([{"id": "1", "text": "red green"}], top_k=5)
    assert system.search([{"id": "1", "text": "red", "instruction": "green"}], top_k=5) == plain
    system.close()


def test_the_revision_depends_on_the_files_of_the_model(model: Path) -> None:
    before = MtebSearch("hybrid", model=str(model)).mteb_model_meta
    assert before.revision == MtebSearch("hybrid", model=str(model)).mteb_model_meta.revision
    assert before.revision != MtebSearch(model).mteb_model_meta.revision
    (model / "encloze.json").write_text(json.dumps({"pooling": "mean"}))
    assert before.revision != MtebSearch("hybrid", model=str(model)).mteb_model_meta.revision


def test_a_tuned_system_raises(dataset: Path) -> None:
    for system in (dataclasses.replace(Bm25(), tune_on="dev"),):
        with pytest.raises(RecipeError, match="cannot rank the documents that MTEB provides"):
            MtebSearch(system)
    with pytest.raises(RecipeError, match="unknown setting"):
        MtebSearch("bm25", k2=1)
