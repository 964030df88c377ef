"""Merging by the command line, and a search in an index of the merged model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, ElectraConfig, PreTrainedConfig, RobertaConfig

import toys
from encloze.cli.main import main
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.storage.manifest import check_manifest

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
KINDS: dict[str, tuple[str, type[PreTrainedConfig]]] = {
    "bert": ("wordpiece", BertConfig),
    "roberta": ("bpe", RobertaConfig),
    "electra": ("unigram", ElectraConfig),
}
Capture = pytest.CaptureFixture[str]


def save_model(folder: Path, kind: str, seed: int) -> Path:
    """Save a model with random weights and a head for masked language modeling."""
    tokenizer = toys.tokenizer(KINDS[kind][0])
    config = KINDS[kind][1](**SIZES, vocab_size=tokenizer.vocab_size, max_position_embeddings=66, initializer_range=0.2)
    torch.manual_seed(seed)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save(folder, 64)
    EncoderConfig((Dense("mean"),), "", "", 32, 64).write(folder)
    return folder


def run_command(capsys: Capture, code: int, *arguments: object) -> tuple[str, str]:
    """Run a command; return its standard output and standard error with single spaces."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return " ".join(captured.out.split()), " ".join(captured.err.split())


@pytest.mark.parametrize("kind", ["bert", "roberta", pytest.param("electra", marks=pytest.mark.slow)])
def test_a_merged_model_can_be_indexed_and_searched(kind: str, tmp_path: Path, dataset: Path, capsys: Capture) -> None:
    adapted, original = save_model(tmp_path / "adapted", kind, 1), save_model(tmp_path / "original", kind, 2)
    other, folder = toys.write_dataset(tmp_path / "other", zipped=True), tmp_path / "merged"
    merge = ("merge", "--model", adapted, "--original", original, "--output", folder, "--weights", ".25,.75")
    out, err = run_command(capsys, 0, *merge, "--dataset", dataset, "--retention_dataset", other)
    for path in (dataset, other):
        assert f"{path}, dev: 10 queries" in out and f"Evaluating merged, weight 0.25 on {path}" in err
    saved = json.loads((folder / "merge.json").read_text())
    for report in saved["reports"]:
        names = [system["name"] for system in report["systems"]]
        assert names == ["original (original)", "adapted (adapted)", "merged, weight 0.25", "merged, weight 0.75"]
        assert all(
            f"{name} {system['measures']['nDCG@10']['mean']:.4f}" in out
            for name, system in zip(names, report["systems"], strict=True)
        )
    assert f"Weight of the adapted model: {saved['weight']:g}." in out
    assert out.endswith(
        f"Saved the model to {folder}. Next: encloze index --model {folder} --corpus FOLDER --output INDEX"
    )

    check_manifest(folder, contents=True)
    recipe, inputs = (
        yaml.safe_load((folder / "recipe.yaml").read_text()),
        json.loads((folder / "inputs.json").read_text()),
    )
    assert recipe["verb"] == "merge" and recipe["weights"] == [0.25, 0.75]
    assert set(inputs["inputs"]) == {"model", "original", "dataset", "retention_dataset"}
    assert f"{saved['weight']:g} x weights of {adapted}" in (folder / "README.md").read_text()
    assert AutoModelForMaskedLM.from_pretrained(folder).config.model_type == kind
    assert (
        AutoTokenizer.from_pretrained(folder)("a river")["input_ids"]
        == AutoTokenizer.from_pretrained(adapted)("a river")["input_ids"]
    )

    run_command(capsys, 0, "rerun", folder)
    for file in ("model.safetensors", "encloze.json", "tokenizer.json"):
        assert (tmp_path / "merged-rerun" / file).read_bytes() == (folder / file).read_bytes()
    run_command(capsys, 0, "index", "--model", folder, "--corpus", dataset, "--output", tmp_path / "index")
    assert " river" in run_command(capsys, 0, "search", "river history", "--index", tmp_path / "index", "--k", "40")[0]
    assert "exists already" in run_command(capsys, 2, *merge[:-1], ".5")[1]


def test_one_weight_needs_no_data_and_the_next_command_depends_on_the_model(tmp_path: Path, capsys: Capture) -> None:
    adapted, original = save_model(tmp_path / "adapted", "bert", 1), save_model(tmp_path / "original", "bert", 2)
    (adapted / "decoders.safetensors").write_bytes(b"decoders of pre-training")
    merge = ("merge", "--model", adapted, "--original", original, "--output", tmp_path / "merged")
    out, err = run_command(capsys, 0, *merge)
    assert out.startswith("Weight of the adapted model: 0.5.") and "Evaluating" not in err
    assert f"Next: encloze finetune --model {tmp_path / 'merged'} --dataset FOLDER" in out
    assert (tmp_path / "merged" / "decoders.safetensors").read_bytes() == b"decoders of pre-training"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--original", "{other}"), "{adapted} and {other} cannot be merged: the model types are bert and roberta"),
        (("--original", "{adapted}", "--weights", "2"), "weights must be numbers from 0 to 1, not 2"),
        (("--original", "{adapted}", "--weights", ".2,.4"), "Set dataset, or give one weight"),
        (("--original", "{adapted}", "--weight", ".2"), "weight: unknown setting; did you mean 'weights' ("),
        (("--original", "{adapted}", "--dataset", "{data}", "--split", "tset"), "no judgments for the split 'tset'"),
        (("--original", "{data}",), "is not a model folder"),
        (("--original", "{adapted}", "--output", "{adapted}"), "exists already"),
    ],
)  # fmt: skip
def test_errors_leave_no_files(
    tmp_path: Path, dataset: Path, capsys: Capture, flags: tuple[str, ...], message: str
) -> None:
    paths = {
        "adapted": save_model(tmp_path / "adapted", "bert", 1),
        "other": save_model(tmp_path / "other", "roberta", 2),
    }
    paths["data"], before = dataset, sorted(tmp_path.rglob("*"))
    merge = ("merge", "--model", paths["adapted"], "--output", tmp_path / "merged")
    _, err = run_command(capsys, 2, *merge, *(flag.format(**paths) for flag in flags))
    assert message.format(**paths) in err
    assert sorted(tmp_path.rglob("*")) == before
