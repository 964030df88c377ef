"""The model of an index is changed while it is in use: build, comparison, cut-over and rollback."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_changes import Both, compare, document

import encloze.retrieval.opening as opening
import toys
from encloze import Retriever
from encloze.cli.display.console import show
from encloze.commands import reindex as command
from encloze.commands.reindex import Reindex
from encloze.errors import CheckpointError, RecipeError, StorageError
from encloze.retrieval.index_folder import stored_fusion, write_fusion
from encloze.retrieval.reindexing import agreement_of, beside
from encloze.search.fusions.reciprocal_rank import ReciprocalRank
from encloze.search.fusions.weighted import Weighted
from encloze.storage import exchange as exchanging
from encloze.storage.exchange import exchange
from encloze.storage.manifest import check_manifest, write_manifest

QUERIES = ["bee", "cab deed", "jazz hex egg"]


class Other(Both):
    """Another model: its embeddings are those of reversed texts."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.fingerprint = "other", "another model"


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, *_: object) -> Both:
        return Other() if name == "other" else Both()

    monkeypatch.setattr(opening, "load_encoder", load)
    monkeypatch.setattr(command, "load_encoder", load)
    monkeypatch.setattr("encloze.systems.index.size_of_weights", lambda _: 0)  # of models without a folder


@pytest.fixture
def index(tmp_path: Path) -> Path:
    documents = [document(n) for n in range(12)]
    Retriever.build(documents, Both(), indexes=["flat", "bm25"], fusion="weighted", output=tmp_path / "index")
    return tmp_path / "index"


def model_of(index: Path) -> str:
    return next(view.encoder.name for view in Retriever.load(index).views if view.encoder)


def expected(numbers: list[int], model: Both) -> Retriever:
    return Retriever.build([document(n) for n in numbers], model, indexes=["flat", "bm25"], fusion="weighted")


@pytest.mark.filterwarnings("ignore:.*rarely finds the document:UserWarning")
def test_the_new_index_catches_up_before_it_takes_the_place_of_the_old_one(index: Path) -> None:
    old_model = model_of(index)
    assert Reindex(index=index, model="other").run().other == beside(index, "next")
    assert model_of(index) == old_model and model_of(beside(index, "next")) == "other"
    live = Retriever.load(index)
    live.delete(["d1", "d2"])
    live.add([document(20)])
    live.add([document(4, version=1)], replace=True)
    result = Reindex(index=index, step="cut_over").run()
    assert (result.caught_up, result.other) == (4, beside(index, "previous"))
    assert model_of(index) == "other" and model_of(result.other) == old_model
    assert not beside(index, "next").exists()
    fresh = Retriever.load(index)
    assert {d.id: d.fields["version"] for d in fresh.corpus}["d4"] == 1
    assert set(fresh.corpus.ids) == {f"d{n}" for n in (0, *range(3, 12), 20)}
    with pytest.warns(UserWarning, match="has been changed, replaced or removed"):
        compare(live.search(QUERIES, 5), Retriever.load(result.other).search(QUERIES, 5))  # as opened

    fresh.delete(["d5"])
    assert Reindex(index=index, step="rollback").run().caught_up == 1
    assert model_of(index) == old_model and model_of(beside(index, "next")) == "other"
    assert set(Retriever.load(index).corpus.ids) == {f"d{n}" for n in (0, 3, 4, *range(6, 12), 20)}
    for folder in (index, beside(index, "next")):
        check_manifest(folder, contents=True)


def test_a_step_without_its_index_is_refused(index: Path) -> None:
    for step in ("cut_over", "rollback"):
        with pytest.raises(
            CheckpointError, match=r"there is no index .*index\.(next\. Build it|previous\. Nothing was)"
        ):
            Reindex(index=index, step=step).run()
    with pytest.raises(RecipeError, match="model is needed for the step build, and only there"):
        Reindex(index=index)
    with pytest.raises(RecipeError, match="model is needed for the step build, and only there"):
        Reindex(index=index, step="rollback", model="other")
    Reindex(index=index, model="other").run()
    with pytest.raises(StorageError, match="exists already"):
        Reindex(index=index, model="other").run()
    Reindex(index=index, model="other", overwrite=True).run()
    beside(index, "previous").mkdir()
    with pytest.raises(CheckpointError, match="is in the way"):
        Reindex(index=index, step="cut_over").run()
    assert model_of(beside(index, "next")) == "other"


def test_both_indexes_are_compared_on_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = toys.write_dataset(tmp_path / "data")
    Retriever.build(dataset, Both(), indexes=["flat"], output=tmp_path / "index")
    result = Reindex(index=tmp_path / "index", model="other", dataset=dataset).run()
    assert result.agreement and result.agreement.overlap == result.agreement.same_first == 1
    assert result.report and [system.name for system in result.report.systems] == ["index", "index.next"]
    show(result)
    output = " ".join(capsys.readouterr().out.split())
    assert "both indexes share 100%" in output and "--step cut_over" in output
    show(Reindex(index=tmp_path / "index", step="cut_over").run())
    assert "--step rollback" in capsys.readouterr().out


def test_agreement_counts_shared_documents() -> None:
    first = {"q": {"a": 3.0, "b": 2.0}, "r": {"a": 1.0}, "s": {}}
    second = {"q": {"b": 3.0, "c": 2.0}, "r": {"a": 9.0}}
    assert agreement_of(first, second) == (3, pytest.approx(0.5), pytest.approx(2 / 3))


@pytest.mark.parametrize("atomic", [True, False])
def test_two_folders_are_exchanged(atomic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not atomic:
        monkeypatch.setattr(exchanging, "_exchange_atomically", lambda *_: False)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name, encoding="utf-8")
    exchange(tmp_path / "one", tmp_path / "two")
    assert [(tmp_path / name / "file").read_text(encoding="utf-8") for name in ("one", "two")] == ["two", "one"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.filterwarnings("ignore:.*rarely finds the document:UserWarning")
def test_a_symbolic_link_to_an_index_stays_a_link(index: Path) -> None:
    link = index.with_name("link")
    link.symlink_to(index)
    Reindex(index=link, model="other").run()
    Retriever.load(link).delete(["d3"])
    Reindex(index=link, step="cut_over").run()
    assert link.is_symlink() and model_of(link) == model_of(index) == "other"
    assert "d3" not in Retriever.load(index).corpus.number_of and beside(link, "previous").parent == index.parent


@pytest.mark.filterwarnings("ignore:.*rarely finds the document:UserWarning")
def test_an_interrupted_cut_over_is_completed_when_it_is_repeated(index: Path) -> None:
    Reindex(index=index, model="other").run()
    exchange(index, beside(index, "next"))  # and killed before the second rename
    assert model_of(index) == "other"
    Reindex(index=index, step="cut_over").run()
    assert model_of(index) == "other" and beside(index, "previous").is_dir() and not beside(index, "next").exists()
    exchange(index, beside(index, "previous"))
    Reindex(index=index, step="rollback").run()
    assert model_of(index) != "other" and model_of(beside(index, "next")) == "other"


def test_the_fusion_is_kept_and_a_model_that_is_not_needed_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, documents = tmp_path / "index", [document(n) for n in range(12)]
    Retriever.build(documents, Both(), indexes=["flat", "bm25"], fusion="reciprocal_rank", output=index)
    Reindex(index=index, model="other").run()
    assert stored_fusion(beside(index, "next")).fusion == stored_fusion(index).fusion

    def missing(*_: object) -> None:
        raise CheckpointError("the model folder is gone")

    monkeypatch.setattr(opening, "load_encoder", missing)
    Reindex(index=index, step="cut_over").run()
    Reindex(index=index, step="rollback").run()


def test_an_index_of_texts_has_no_model_to_change(tmp_path: Path) -> None:
    Retriever.build(["a", "b"], indexes=["bm25"], output=tmp_path / "index")
    with pytest.raises(RecipeError, match="no index in .* was built by a model: bm25"):
        Reindex(index=tmp_path / "index", model="other").run()


@pytest.mark.filterwarnings("ignore:.*rarely finds the document:UserWarning")
def test_an_open_retriever_uses_the_new_model_and_fusion_after_a_refresh(index: Path) -> None:
    opened, chosen = Retriever.load(index), Retriever.load(index, fusion="reciprocal_rank", views=["bm25", "flat"])
    Reindex(index=index, model="other").run()
    write_fusion(beside(index, "next"), Weighted((0.0, 1.0)), "", {"split": "", "dataset": ""})
    write_manifest(beside(index, "next"))
    Reindex(index=index, step="cut_over").run()
    assert opened.refresh() and chosen.refresh() and not opened.refresh()
    assert [view.name for view in opened.views] == ["bm25"] and opened.fusion == Weighted((1.0,))
    assert [view.name for view in chosen.views] == ["bm25", "flat"] and chosen.fusion == ReciprocalRank()
    assert chosen.views[1].encoder and chosen.views[1].encoder.name == "other"
    opened.add([document(30)])
    assert chosen.refresh() and "d30" in chosen.corpus.number_of and len(opened) == 13
