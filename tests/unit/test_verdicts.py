"""Tests of the verdict on a training run, in the command's output, the model card and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encloze.commands.finetune import Finetune
from encloze.data.formats.beir import Beir
from encloze.errors import RecipeError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.origins.base import Origin
from encloze.reporting.result_folders import find_result_folders
from encloze.reporting.sections.training import training_section
from encloze.reporting.verdicts import training_verdict
from encloze.training.arguments import TrainingArguments


def write_logs(folder: Path, log: list[dict[str, float]], monitors: list[dict[str, float]]) -> Path:
    """Write the logs of a training run and a configuration with 1,000 tokens."""
    for name, lines in (("log.jsonl", log), ("monitors.jsonl", monitors)):
        entries = [json.dumps({"step": step, **line}) for step, line in enumerate(lines)]
        (folder / name).write_text("\n".join(entries), encoding="utf-8")
    (folder / "config.json").write_text('{"vocab_size": 1000}', encoding="utf-8")
    return folder


def write_effect(folder: Path, difference: tuple[float, float, float], kept: str = "finetuned") -> Path:
    mean, low, high = difference
    change = {"mean": mean, "low": low, "high": high, "minimum_detectable": 0.012}
    merged = {"mean": 0.05, "low": 0.04, "high": 0.06, "minimum_detectable": 0.012}
    effect = {
        "split": "dev",
        "queries": 300,
        "documents": 2000,
        "measure": "nDCG@10",
        "means": {"initial": 0.5, "finetuned": 0.5 + mean, "merged 0.5": 0.55},
        "differences": {"finetuned": change, "merged 0.5": merged},
        "kept": kept,
    }
    (folder / "effect.json").write_text(json.dumps(effect), encoding="utf-8")
    return folder


GAP = {"bottleneck.decoder_gap_low": 0.1, "bottleneck.decoder_gap_high": 0.3}
NO_GAP = {"bottleneck.decoder_gap_low": -0.02, "bottleneck.decoder_gap_high": 0.03}


@pytest.mark.parametrize(
    ("monitors", "learned", "says"),
    [
        (
            [{"held_out.encoder": 6.9, **NO_GAP}, {"held_out.encoder": 4.0, **GAP}],
            True,
            [
                "The held-out loss 'encoder' fell (6.900 at the start, 4.000 at the end; 6.908 by chance)",
                "'decoder' uses the embedding (99 % interval [0.1000, 0.3000])",
                "Fine-tune the model",
            ],
        ),
        (
            [{"held_out.encoder": 6.9, **NO_GAP}, {"held_out.encoder": 4.0, **NO_GAP}],
            False,
            ["'decoder' does not use the embedding (99 % interval [-0.0200, 0.0300])", "Train longer"],
        ),
        (
            [{"held_out.encoder": 6.9, **GAP}, {"held_out.encoder": 7.2, **GAP}],
            False,
            ["'encoder' did not fall (6.900 at the start, 7.200 at the end", "--training.learning_rate"],
        ),
    ],
    ids=["learned", "embedding not used", "loss not lower"],
)
def test_pretraining_is_judged_by_its_held_out_loss_and_the_use_of_the_embedding(
    monitors: list[dict[str, float]], learned: bool, says: list[str], tmp_path: Path
) -> None:
    verdict = training_verdict(write_logs(tmp_path, [{"encoder": 7.0}, {"encoder": 5.0}], monitors), "pretrain")
    assert verdict is not None and verdict.has_learned is learned
    assert all(text in str(verdict) for text in says), str(verdict)


def test_without_monitors_the_training_loss_is_judged(tmp_path: Path) -> None:
    verdict = training_verdict(write_logs(tmp_path, [{"encoder": 7.0}, {"encoder": 5.0}], []), "pretrain")
    assert verdict is not None and "The training loss 'encoder' fell (7.000 at the start" in verdict.result
    verdict = training_verdict(write_logs(tmp_path, [{"encoder": 7.0}], []), "pretrain")
    assert verdict is not None and verdict.has_learned is None and "was logged only once" in verdict.result


@pytest.mark.parametrize(
    ("difference", "accuracy", "kept", "learned", "says"),
    [
        ((0.02, 0.01, 0.03), 0.7, "finetuned", True, ["improved retrieval (nDCG@10 on dev 0.5200", "index it"]),
        ((-0.02, -0.03, -0.01), 0.7, "finetuned", False, ["made retrieval worse", "or keep the initial model"]),
        ((0.0, -0.01, 0.012), 0.97, "finetuned", False, ["no significant difference", "0.0120 or", "97.0% of"]),
        ((-0.02, -0.03, -0.01), 0.7, "initial", False, ["The initial model was kept.", "or train longer."]),
        ((0.0, -0.01, 0.01), 0.7, "merged 0.5", True, ["merged with weight 0.5 was kept.", "0.5500, difference +0.05"]),
    ],
)  # fmt: skip
def test_fine_tuning_is_judged_by_its_initial_model(
    difference: tuple[float, float, float], accuracy: float, kept: str, learned: bool, says: list[str], tmp_path: Path
) -> None:
    write_logs(tmp_path, [{"in_batch_accuracy": 0.1}, {"in_batch_accuracy": accuracy}], [])
    verdict = training_verdict(write_effect(tmp_path, difference, kept), "finetune")
    assert verdict is not None and verdict.has_learned is learned
    assert all(text in str(verdict) for text in says), str(verdict)


def test_without_queries_to_evaluate_the_verdict_claims_nothing(tmp_path: Path) -> None:
    logs = [{"in_batch_accuracy": 0.1, "top1_accuracy": 0.2}, {"in_batch_accuracy": 0.8, "top1_accuracy": 0.9}]
    write_logs(tmp_path, logs, [])
    for command, figure in (("finetune", "80.0%"), ("finetune_reranker", "90.0%")):
        verdict = training_verdict(tmp_path, command)
        assert verdict is not None and verdict.has_learned is None
        assert figure in verdict.result and "unknown" in verdict.advice
    assert training_verdict(tmp_path, "index") is None


@pytest.mark.parametrize(("low", "learned"), [(0.7, True), (0.5, False)])
def test_a_classifier_is_judged_by_its_best_baseline(low: float, learned: bool, tmp_path: Path) -> None:
    def system(name: str, mean: float, low: float, high: float) -> dict[str, object]:
        return {"name": name, "measures": {"accuracy": {"mean": mean, "low": low, "high": high}}}

    systems = [system("first", 0.3, 0.2, 0.4), system("majority", 0.55, 0.5, 0.6), system("own", 0.8, low, 0.9)]
    (tmp_path / "report-dev.json").write_text(json.dumps({"split": "dev", "systems": systems}), encoding="utf-8")
    verdict = training_verdict(tmp_path, "finetune_classifier")
    assert verdict is not None and verdict.has_learned is learned
    assert "intervals: 0.8000 [" in verdict.result


# ------------------------------------------------------------------------------------------------ fine-tuning itself


def finetune(dataset: Path, model: Path, output: Path, **settings: object) -> Finetune:
    return Finetune(
        Beir(dataset),
        Origin.from_name(str(model)),
        output,
        max_query_tokens=32,
        max_document_tokens=64,
        batch_size=8,
        training=TrainingArguments(learning_rate=1e-3, steps=4, precision="float32", logging_steps=1, save_steps=0),
        **settings,  # type: ignore[arg-type]
    )


def test_the_model_folder_compares_start_and_result(dataset: Path, model: Path, tmp_path: Path) -> None:
    result = finetune(dataset, model, tmp_path / "out", merge_weights=(0.5,)).run()
    effect = json.loads((tmp_path / "out" / "effect.json").read_text(encoding="utf-8"))
    assert effect["split"] == "dev" and effect["documents"] == 40 and effect["kept"] == "finetuned"
    assert list(effect["means"]) == ["initial", "finetuned", "merged 0.5"]
    assert result.verdict is not None and effect["measure"] in str(result.verdict)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"## Result\n\n{result.verdict}\n" in card and "`effect.json`" in card
    (folder,) = find_result_folders([tmp_path / "out"])
    assert training_section(folder).blocks[0] == (str(result.verdict),)


def test_evaluation_does_not_change_the_training(dataset: Path, model: Path, tmp_path: Path) -> None:
    finetune(dataset, model, tmp_path / "with", merge_weights=(0.5,)).run()
    finetune(dataset, model, tmp_path / "without", evaluate_on=None).run()
    assert not (tmp_path / "without" / "effect.json").exists()
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("with", "without"))
    assert first == second


def test_keep_best_writes_the_best_of_the_evaluated_models(dataset: Path, model: Path, tmp_path: Path) -> None:
    """With a learning rate that destroys the model, the best model is the initial one."""
    destroyed = TrainingArguments(learning_rate=10.0, steps=3, precision="float32", save_steps=0, warmup_ratio=0)
    finetune(dataset, model, tmp_path / "good").run()
    start = tmp_path / "good"
    command = Finetune(
        Beir(dataset),
        Origin.from_name(str(start)),
        tmp_path / "out",
        max_query_tokens=32,
        max_document_tokens=64,
        keep="best",
        training=destroyed,
    )
    result = command.run()
    effect = json.loads((tmp_path / "out" / "effect.json").read_text(encoding="utf-8"))
    assert effect["means"]["initial"] > effect["means"]["finetuned"] and effect["kept"] == "initial"
    assert result.verdict is not None and "The initial model was kept" in result.verdict.result
    query = ["where do the rivers end"]
    folders = (tmp_path / "out", start)
    kept, initial = (BiEncoder.load(str(folder), precision="float32", device="cpu") for folder in folders)
    assert (kept.encode_queries(query).dense == initial.encode_queries(query).dense).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evaluate_on": "train"}, "evaluate_on is the split 'train' that is trained on"),
        ({"merge_weights": (0.0, 0.5)}, "merge_weights must be above 0 and below 1"),
        ({"evaluate_on": None, "keep": "best"}, "keep: best need evaluate_on"),
    ],
)
def test_contradictory_settings_are_refused(
    settings: dict[str, object], message: str, dataset: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        finetune(dataset, model, tmp_path / "out", **settings)


def test_one_query_of_dev_is_no_comparison(dataset: Path, model: Path, tmp_path: Path) -> None:
    lines = (dataset / "qrels" / "dev.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (dataset / "qrels" / "dev.tsv").write_text("".join(lines[:2]), encoding="utf-8")
    result = finetune(dataset, model, tmp_path / "out").run()
    assert not (tmp_path / "out" / "effect.json").exists()
    assert result.verdict is not None and result.verdict.has_learned is None
    with pytest.raises(RecipeError, match="evaluate_on: a comparison needs two queries"):
        finetune(dataset, model, tmp_path / "named", evaluate_on="dev").run()


def test_training_without_negatives_gives_a_warning(dataset: Path, model: Path, tmp_path: Path) -> None:
    file = dataset / "qrels" / "train.tsv"
    header, first, *rows = file.read_text(encoding="utf-8").splitlines()
    document = first.split("\t")[1]
    shared = [header, first, *("\t".join([row.split("\t")[0], document, "1"]) for row in rows)]
    file.write_text("\n".join(shared) + "\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="all training queries have the same relevant document"):
        finetune(dataset, model, tmp_path / "out", evaluate_on=None).run()


def test_keeping_the_best_needs_a_split_to_evaluate(dataset: Path, model: Path, tmp_path: Path) -> None:
    (dataset / "qrels" / "dev.tsv").unlink()
    with pytest.raises(RecipeError, match="evaluate_on: .* has no split dev or validation"):
        finetune(dataset, model, tmp_path / "out", keep="best").run()
    assert not (tmp_path / "out").exists()
