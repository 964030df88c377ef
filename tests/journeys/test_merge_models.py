"""From two models to the one between them by the command line, and on to an index that is searched with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, ElectraConfig, PreTrainedConfig, RobertaConfig

import toys
from encloze.cli.main import main
from encloze.models.checkpoint import Card
from encloze.models.heads.dense import Dense
from encloze.storage.manifest import check_manifest

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
KINDS: dict[str, tuple[str, type[PreTrainedConfig]]] = {
    "bert": ("wordpiece", BertConfig),
    "roberta": ("bpe", RobertaConfig),
    "electra": ("unigram", ElectraConfig),
}
Said = pytest.CaptureFixture[str]


def write(folder: Path, kind: str, seed: int) -> Path:
    """A model folder with random weights, as pre-training leaves one."""
    tokenizer = toys.tokenizer(KINDS[kind][0])
    config = KINDS[kind][1](**SIZES, vocab_size=tokenizer.size, max_position_embeddings=66, initializer_range=0.2)
    torch.manual_seed(seed)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save(folder, 64)
    Card((Dense("mean"),), "", "", 32, 64).write(folder)
    return folder


def said_by(capsys: Said, code: int, *arguments: object) -> tuple[str, str]:
    """What a command line prints to its output, and what to the errors, blanks squeezed."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return " ".join(captured.out.split()), " ".join(captured.err.split())


@pytest.mark.parametrize("kind", KINDS)
def test_two_models_become_one_that_can_be_searched_with(
    kind: str, tmp_path: Path, dataset: Path, capsys: Said
) -> None:
    adapted, original = write(tmp_path / "adapted", kind, 1), write(tmp_path / "original", kind, 2)
    other, folder = toys.write_dataset(tmp_path / "other", zipped=True), tmp_path / "merged"
    merge = ("merge", "--model", adapted, "--original", original, "--output", folder, "--weights", ".25,.75")
    out, err = said_by(capsys, 0, *merge, "--dataset", dataset, "--retention", other)
    for place in (dataset, other):
        assert f"{place}, dev: 10 queries" in out and f"Judging merged, weight 0.25 on {place}" in err
    kept = json.loads((folder / "merge.json").read_text())
    for report in kept["reports"]:
        names = [system["name"] for system in report["systems"]]
        assert names == ["original (original)", "adapted (adapted)", "merged, weight 0.25", "merged, weight 0.75"]
        assert all(
            f"{name} {system['measures']['nDCG@10']['mean']:.4f}" in out
            for name, system in zip(names, report["systems"], strict=True)
        )
    assert f"The weight of the adapted model is {kept['weight']:g}." in out
    assert out.endswith(
        f"The model is in {folder}. Next: encloze index --model {folder} --corpus FOLDER --output INDEX"
    )

    check_manifest(folder, contents=True)
    recipe, inputs = (
        yaml.safe_load((folder / "recipe.yaml").read_text()),
        json.loads((folder / "inputs.json").read_text()),
    )
    assert recipe["verb"] == "merge" and recipe["weights"] == [0.25, 0.75]
    assert set(inputs["inputs"]) == {"model", "original", "dataset", "retention"}
    assert f"{kept['weight']:g} x that of {adapted}" in (folder / "README.md").read_text()
    assert AutoModelForMaskedLM.from_pretrained(folder).config.model_type == kind
    assert (
        AutoTokenizer.from_pretrained(folder)("a river")["input_ids"]
        == AutoTokenizer.from_pretrained(adapted)("a river")["input_ids"]
    )

    said_by(capsys, 0, "rerun", folder)
    for file in ("model.safetensors", "encloze.json", "tokenizer.json"):
        assert (tmp_path / "merged-again" / file).read_bytes() == (folder / file).read_bytes()
    said_by(capsys, 0, "index", "--model", folder, "--corpus", dataset, "--output", tmp_path / "index")
    assert " river" in said_by(capsys, 0, "search", "river history", "--index", tmp_path / "index", "--k", "40")[0]
    assert "exists already" in said_by(capsys, 2, *merge[:-1], ".5")[1]


def test_one_weight_needs_no_data_and_the_next_step_depends_on_the_model(tmp_path: Path, capsys: Said) -> None:
    adapted, original = write(tmp_path / "adapted", "bert", 1), write(tmp_path / "original", "bert", 2)
    (adapted / "decoders.safetensors").write_bytes(b"as pre-training left them")
    merge = ("merge", "--model", adapted, "--original", original, "--output", tmp_path / "merged")
    out, err = said_by(capsys, 0, *merge)
    assert out.startswith("The weight of the adapted model is 0.5.") and "Judging" not in err
    assert f"Next: encloze finetune --model {tmp_path / 'merged'} --dataset FOLDER" in out
    assert (tmp_path / "merged" / "decoders.safetensors").read_bytes() == b"as pre-training left them"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--original", "{other}"), "{adapted} and {other} are not of one make: the model types are bert and roberta"),
        (("--original", "{adapted}", "--weights", "2"), "weights must be numbers from 0 to 1, not 2"),
        (("--original", "{adapted}", "--weights", ".2,.4"), "give a dataset, or one weight"),
        (("--original", "{adapted}", "--weight", ".2"), "weight: no such setting; did you mean 'weights'?"),
        (("--original", "{adapted}", "--retention", "{data}", "--split", "tset"), "no judgments for the split 'tset'"),
        (("--original", "{data}",), "is no model folder"),
        (("--original", "{adapted}", "--output", "{adapted}"), "exists already"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    tmp_path: Path, dataset: Path, capsys: Said, flags: tuple[str, ...], says: str
) -> None:
    places = {"adapted": write(tmp_path / "adapted", "bert", 1), "other": write(tmp_path / "other", "roberta", 2)}
    places["data"], before = dataset, sorted(tmp_path.rglob("*"))
    merge = ("merge", "--model", places["adapted"], "--output", tmp_path / "merged")
    _, err = said_by(capsys, 2, *merge, *(flag.format(**places) for flag in flags))
    assert says.format(**places) in err
    assert sorted(tmp_path.rglob("*")) == before
