"""Model cards contain training and evaluation results for readers and for the hub, and may be edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from encloze.backbones.hf.classification import load_cross_encoder
from encloze.cli.main import main
from encloze.errors import DataError
from encloze.intervals import Interval
from encloze.models.cross_encoder import CrossEncoder
from encloze.reporting.model_cards import EvaluationFigures, RobustnessFigures, add_figures, write_cards
from encloze.reporting.training_logs import model_card_section
from encloze.storage.hashes import hash_tree
from encloze.storage.manifest import check_manifest, write_manifest
from encloze.storage.names import README
from encloze.text.tokenizer import Tokenizer

CARD = "---\nlibrary_name: encloze\n---\n\n# mine\n\nA text encoder.\n"
FIGURES = EvaluationFigures(
    folder=Path("m"),
    system="mine",
    dataset="toys",
    identity="abc",
    split="test",
    measures={"nDCG@10": 0.5, "RR@10": 0.25},
    interval=Interval(0.5, 0.4, 0.6),
    verdict="better (against b)",
)


def header_of(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_figures_are_in_the_card_and_in_its_metadata_for_the_hub() -> None:
    card = add_figures(CARD, "mine", [FIGURES])
    assert "| mine | 0.5000 [0.4000, 0.6000] | 0.2500 | better (against b) |" in card
    head = header_of(card)
    assert head["library_name"] == "encloze"
    ((model,),) = [head["model-index"]]
    assert model["name"] == "mine" and model["results"][0]["dataset"] == {
        "type": "toys",
        "name": "toys",
        "config": "abc",
        "split": "test",
    }
    assert [(one["type"], one["value"]) for one in model["results"][0]["metrics"]] == [
        ("ndcg_at_10", 0.5),
        ("mrr_at_10", 0.25),
    ]
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import ModelCard

    results = ModelCard(card).data.eval_results  # the hub's own reader
    assert [(one.dataset_name, one.metric_value) for one in results] == [("toys", 0.5), ("toys", 0.25)]


def test_new_figures_replace_earlier_ones_and_other_text_is_kept() -> None:
    once = add_figures(CARD, "mine", [FIGURES._replace(measures={"nDCG@10": 0.1}, interval=None)]) + "\nMy own words.\n"
    twice = add_figures(once, "mine", [FIGURES])
    assert "0.1000" not in twice and twice.count("## Evaluation") == 1 and "My own words." in twice
    assert twice.index("A text encoder.") < twice.index("My own words.") < twice.index("## Evaluation")
    assert add_figures(twice, "mine", [FIGURES]) == twice
    robustness = RobustnessFigures(
        Path("m"), "mine", "toys", "abc", "test", "nDCG@10", "typos", 0.5, 0.25, Interval(0.25, 0.1, 0.4)
    )
    more = add_figures(twice, "mine", [FIGURES._replace(identity="other"), robustness])
    assert (more.count("## Evaluation on toys, test"), more.count("## Robustness on toys, test")) == (
        2,
        1,
    )  # of one name
    assert "| mine | nDCG@10 | typos | 0.5000 | 0.2500 | +0.2500 [+0.1000, +0.4000] |" in more
    assert [one["dataset"]["config"] for one in header_of(more)["model-index"][0]["results"]] == ["abc", "other"]
    assert add_figures(more, "mine", [robustness, FIGURES._replace(identity="other")]).count("##") == more.count("##")


def test_metadata_of_other_models_is_kept() -> None:
    theirs = {"name": "another", "results": [{"metrics": [{"type": "pearson", "value": 0.9}]}]}
    card = f"---\n{yaml.safe_dump({'model-index': [theirs]})}---\n# mine\n"
    for _ in range(2):
        card = add_figures(card, "mine", [FIGURES])
        assert [one["name"] for one in header_of(card)["model-index"]] == ["another", "mine"]
    assert header_of(card)["model-index"][0] == theirs


def test_an_invalid_header_is_reported_with_its_file(tmp_path: Path) -> None:
    (tmp_path / README).write_text("---\ntitle: a: b\n---\n# mine\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=rf"{README}: the header between --- is not valid YAML: .* Correct or remove the header"
    ):
        write_cards([FIGURES._replace(folder=tmp_path)])
    assert (tmp_path / README).read_text(encoding="utf-8").startswith("---\ntitle: a: b")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("date: !!int x", "'x' cannot be read as int"),
        ("a: &a [*a]", "an alias refers to itself"),
        ("model-index: 1", "model-index: expected a list, found an integer"),
        ("model-index: [{name: mine, results: {}}]", r"model-index\[0\].results: expected a list"),
        ("model-index: [{name: mine, results: [{dataset: 1}]}]", r"results\[0\].dataset: expected"),
    ],
)
def test_a_malformed_header_is_an_error(header: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        add_figures(f"---\n{header}\n---\n# mine\n", "mine", [FIGURES])


def test_a_card_without_a_header_gets_one() -> None:
    assert header_of(add_figures("# only words\n", "mine", [FIGURES]))["model-index"]


def test_the_training_section_has_first_and_last_values(tmp_path: Path) -> None:
    assert model_card_section(tmp_path) == ""
    lines = [{"step": step, "encoder": 8 / step, "precision": "float32"} for step in (1, 2)]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    assert "| encoder | 8 | 4 | 4 | 8 | 2 |" in model_card_section(tmp_path)


def test_a_card_may_be_edited_without_invalidating_its_folder(tmp_path: Path) -> None:
    (tmp_path / README).write_text("before", encoding="utf-8")
    (tmp_path / "weights").write_text("1", encoding="utf-8")
    write_manifest(tmp_path)
    before = hash_tree(tmp_path)
    (tmp_path / README).write_text("after, and longer", encoding="utf-8")
    check_manifest(tmp_path, contents=True)
    assert hash_tree(tmp_path) == before


def test_the_readme_of_a_folder_of_texts_is_part_of_its_hash(tmp_path: Path) -> None:
    (tmp_path / README).write_text("a text", encoding="utf-8")
    before = hash_tree(tmp_path)
    (tmp_path / README).write_text("another text", encoding="utf-8")
    assert hash_tree(tmp_path) != before


def test_report_writes_the_cards_of_the_evaluated_models(
    dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / README).write_text(CARD, encoding="utf-8")
    write_manifest(model)
    compared, report = tmp_path / "compared", tmp_path / "found"
    flags = ["--dataset", str(dataset), "--systems", f"bm25,{model}", "--output", str(compared)]
    assert main(["compare", *flags]) == 0
    assert main(["report", str(compared), "--output", str(report), "--model-cards"]) == 0
    assert f"Added the results to the model card of {model}." in capsys.readouterr().out
    written = header_of((model / README).read_text(encoding="utf-8"))["model-index"][0]["results"][0]["metrics"][0]
    means = json.loads((compared / "comparison.json").read_text(encoding="utf-8"))["systems"][1]["means"]
    assert written["value"] == pytest.approx(means["toys"]["mean"], abs=1e-4)
    check_manifest(model, contents=True)


def test_the_model_of_an_index_and_a_single_model_get_results(dataset: Path, model: Path, tmp_path: Path) -> None:
    (model / README).write_text(CARD, encoding="utf-8")
    write_manifest(model)
    index, evaluated = tmp_path / "index", tmp_path / "evaluated"
    assert main(["index", "--dataset", str(dataset), "--model", str(model), "--output", str(index)]) == 0
    systems = ["--systems", f"bm25,{index}", "--model", str(model)]
    assert main(["evaluate", "--dataset", str(dataset), *systems, "--output", str(evaluated)]) == 0
    assert main(["report", str(evaluated), "--output", str(tmp_path / "found"), "--model-cards"]) == 0
    card = (model / README).read_text(encoding="utf-8")
    assert "## Evaluation on toys, test" in card and f"\n| {index.name} | " in card and f"\n| {model.name} | " in card


@pytest.fixture
def reranker(model: Path, tmp_path: Path) -> Path:
    """An untrained re-ranker, with model cards for it and for the model."""
    tokenizer = Tokenizer.load(model)
    CrossEncoder(load_cross_encoder(model), tokenizer, 64).save(tmp_path / "reranker")
    for folder in (model, tmp_path / "reranker"):
        (folder / README).write_text(CARD, encoding="utf-8")
        write_manifest(folder)
    return tmp_path / "reranker"


def test_models_and_rerankers_inside_other_systems_get_results(
    dataset: Path, model: Path, reranker: Path, tmp_path: Path
) -> None:
    hybrid = {"type": "hybrid", "model": str(model)}
    reranked = {"type": "reranked", "system": hybrid, "reranker": str(reranker), "title": "twice"}
    seeds = {"type": "seeds", "systems": [str(model), {"type": "model", "model": str(model), "title": "other"}]}
    systems = json.dumps(["bm25", hybrid, reranked, seeds])
    given = ["--dataset", str(dataset), "--systems", systems, "--output", str(tmp_path / "all" / "compared")]
    assert main(["compare", *given]) == 0
    robustness = ["robustness", "--dataset", str(dataset), "--systems", json.dumps(["bm25", reranked])]
    assert main([*robustness, "--query_perturbations", "case", "--output", str(tmp_path / "all" / "card")]) == 0
    assert main(["report", str(tmp_path / "all"), "--output", str(tmp_path / "found"), "--model-cards"]) == 0
    ours, theirs = ((folder / README).read_text(encoding="utf-8") for folder in (model, reranker))
    for name, in_ours, in_theirs in (("model + bm25", 1, 0), ("twice", 2, 2), ("model", 1, 0), ("other", 1, 0)):
        assert (ours.count(f"\n| {name} |"), theirs.count(f"\n| {name} |")) == (in_ours, in_theirs)
    assert "## Robustness on toys, test" in theirs and "| twice | nDCG@10 | case |" in theirs


def test_models_get_results_if_every_system_is_also_reranked(
    dataset: Path, model: Path, reranker: Path, tmp_path: Path
) -> None:
    systems = ["--systems", f"bm25,{model}", "--reranker", str(reranker)]
    assert main(["evaluate", "--dataset", str(dataset), *systems, "--output", str(tmp_path / "evaluated")]) == 0
    assert main(["report", str(tmp_path / "evaluated"), "--output", str(tmp_path / "found"), "--model-cards"]) == 0
    ours, theirs = ((folder / README).read_text(encoding="utf-8") for folder in (model, reranker))
    assert all(f"\n| {name} |" in ours for name in ("model", "model + reranker"))
    assert all(f"\n| {name} |" in theirs for name in ("bm25 + reranker", "model + reranker"))


def test_no_card_is_written_by_default(dataset: Path, model: Path, tmp_path: Path) -> None:
    (model / README).write_text(CARD, encoding="utf-8")
    write_manifest(model)
    toys_report = tmp_path / "evaluated"
    flags = ["--dataset", str(dataset), "--systems", f"bm25,{model}", "--output", str(toys_report)]
    assert main(["evaluate", *flags]) == 0 and main(["report", str(toys_report)]) == 0
    assert (model / README).read_text(encoding="utf-8") == CARD
