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
from encloze.data.lines import Faults
from encloze.errors import DataError, RecipeError
from encloze.evaluation.benchmarks.base import Benchmark
from encloze.interop.mteb import MtebSearch
from encloze.systems.bm25 import Bm25

mteb = pytest.importorskip("mteb")


def built(name: str, path: Path | None = None) -> Benchmark:
    tree = {"benchmark": {"type": name, **({"path": str(path)} if path else {})}, "systems": "bm25"}
    made: Evaluate = recipe.build(Evaluate, tree)
    assert made.benchmark is not None
    return made.benchmark


@pytest.fixture
def copied(dataset: Path, tmp_path: Path) -> Path:
    """A data set as the hub holds those of MTEB: a configuration for each of corpus, queries and judgments."""
    folder, layout = tmp_path / "copied", Beir(dataset)
    asked, judged = list(layout.queries(Faults())), list(layout.judgments("test", Faults()))
    tables = {
        "corpus": [{"_id": d.id, "title": d.title, "text": d.text} for d in layout.documents(Faults())],
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


def test_a_copy_of_the_hubs_folder_is_judged_as_its_beir_layout_is(copied: Path, dataset: Path) -> None:
    of_copy = Evaluate(benchmark=built("mteb/NFCorpus", copied), systems=(Bm25(),)).run()
    of_beir = Evaluate(Beir(dataset), systems=(Bm25(),), measures=("nDCG@10", "R@100")).run()
    assert of_copy.dataset == "mteb:NFCorpus" and list(of_copy.queries) == sorted(of_beir.queries)
    for measure in ("nDCG@10", "R@100"):
        first, second = (dict(zip(r.queries, r.systems[0].values[measure], strict=True)) for r in (of_copy, of_beir))
        assert first == second


def test_a_folder_in_beirs_layout_serves_too(dataset: Path) -> None:
    assert built("mteb/NFCorpus", dataset).format() == Beir(dataset)


def test_a_task_brings_its_own_measure_split_and_rule_of_own_ids() -> None:
    assert built("mteb/NFCorpus").rules()[:] == (("nDCG@10", "R@100"), 100, "count")
    assert built("mteb/ArguAna").rules().own_ids == "skip"
    told = built("mteb/MSMARCO")
    assert told.split() == mteb.get_task("MSMARCO").metadata.eval_splits[0] and told.rules().own_ids == "skip"
    assert built("mteb/BelebeleRetrieval/heb_Hebr-eng_Latn").format() == Mteb("BelebeleRetrieval", "heb_Hebr-eng_Latn")
    assert built("mteb/GermanQuAD-Retrieval").rules().measures == ("RR@5", "nDCG@10", "R@100")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mteb/NFCorpsu", "mteb:NFCorpsu: .*NFCorpus"),
        ("mteb/Banking77Classification", "is a task of Classification, and what is judged here is retrieval"),
        ("mteb/AskUbuntuDupQuestions", "is a task of Reranking, and what is judged here is retrieval"),
        ("mteb/BelebeleRetrieval", "mteb:BelebeleRetrieval has several parts: write one behind it"),
        ("mteb/BelebeleRetrieval/heb", "no part is called 'heb'"),
        ("mteb/NFCorpus", "mteb:NFCorpus cannot be read: .* name a copy of the folder mteb/nfcorpus of the hub"),
    ],
)
def test_what_cannot_be_had_is_told_with_what_to_do(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(DataError, match=f"(?s){says}"):
        DatasetSplit(built(name).format(), "test").corpus  # noqa: B018


def test_a_measure_that_is_not_known_is_no_other_one() -> None:
    with pytest.raises(DataError, match="is told in robustness_at_10, which encloze does not measure"):
        built("mteb/InstructIR").rules()


def test_a_benchmark_without_its_task_is_refused() -> None:
    with pytest.raises(RecipeError, match="collection is not named: write it behind a slash, as in mteb/NFCorpus"):
        built("mteb")


# --------------------------------------------------------------------------------------------- as a model of MTEB's


def task_of(dataset: Path, listed: dict[str, list[str]] | None = None) -> Any:
    """A task of MTEB's over a data set, with instructions for none."""
    from datasets import DatasetSplit as Table
    from mteb.mocks.mock_tasks import MockRetrievalTask

    layout = Beir(dataset)
    judged: dict[str, dict[str, int]] = {}
    for judgment in layout.judgments("test", Faults()):
        judged.setdefault(judgment.query, {})[judgment.document] = judgment.grade
    part = {
        "corpus": Table.from_list([{"id": d.id, "title": d.title, "text": d.text} for d in layout.documents(Faults())]),
        "queries": Table.from_list([{"id": q.id, "text": q.text} for q in layout.queries(Faults()) if q.id in judged]),
        "relevant_docs": judged,
        "top_ranked": listed,
    }
    task = MockRetrievalTask()
    task.metadata = task.metadata.model_copy(update={"eval_splits": ["test"], "name": "Toys"})
    task.dataset, task.data_loaded = {"default": {"test": part}}, True
    return task


@pytest.mark.parametrize("kind", ["bm25", "hybrid"])
def test_mteb_finds_the_same_figure_for_a_system_as_we_do(kind: str, dataset: Path, model: Path) -> None:
    settings = {} if kind == "bm25" else {"model": str(model)}
    system = MtebSearch(kind, **settings)
    found = mteb.evaluate(system, task_of(dataset), cache=None, co2_tracker=False, show_progress_bar=False)
    ours = Evaluate(Beir(dataset), systems=(system.system,)).run()
    values = found.task_results[0].scores["test"][0]
    assert values["ndcg_at_10"] == pytest.approx(ours.systems[0].values["nDCG@10"].mean(), abs=1e-5)
    assert found.model_name.startswith("encloze/") and found.model_revision == system.mteb_model_meta.revision
    system.close()


def test_a_list_to_be_re_ranked_is_ranked_alone(dataset: Path) -> None:
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
    with pytest.raises(RuntimeError, match="after index"):
        system.search(part["queries"], top_k=3)


def test_an_instruction_stands_behind_its_query(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = MtebSearch("bm25")
    task = task_of(dataset)
    system.index(task.dataset["default"]["test"]["corpus"], task_metadata=task.metadata, hf_subset="default")
    plain = system.search([{"id": "1", "text": "red green"}], top_k=5)
    assert system.search([{"id": "1", "text": "red", "instruction": "green"}], top_k=5) == plain
    system.close()


def test_a_models_results_are_kept_by_what_is_in_its_folder(model: Path) -> None:
    before = MtebSearch("hybrid", model=str(model)).mteb_model_meta
    assert before.revision == MtebSearch("hybrid", model=str(model)).mteb_model_meta.revision
    assert before.revision != MtebSearch(model).mteb_model_meta.revision
    (model / "encloze.json").write_text(json.dumps({"pooling": "mean"}))
    assert before.revision != MtebSearch("hybrid", model=str(model)).mteb_model_meta.revision


def test_what_has_its_documents_from_elsewhere_is_refused(dataset: Path) -> None:
    for system in (dataclasses.replace(Bm25(), tune_on="dev"),):
        with pytest.raises(RecipeError, match="cannot rank whatever documents MTEB brings"):
            MtebSearch(system)
    with pytest.raises(RecipeError, match="no such setting"):
        MtebSearch("bm25", k2=1)
