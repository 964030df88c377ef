"""From pre-training to an evaluated index on toy data, each step with the output of the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModel, AutoModelForMaskedLM

from encloze import Encoder, Format, Index, Retriever
from encloze.cli.main import main
from encloze.errors import StaleIndexError
from encloze.storage.manifest import check_manifest
from encloze.text.tokenizer import Tokenizer


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


TRAINING = ("--training.precision", "float32", "--training.save_steps", "0")


@pytest.mark.parametrize("start", ["model", "scratch"])
def test_pretrain_finetune_index_search_evaluate(
    start: str, dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin = [model] if start == "model" else ["scratch", "--model.size", "tiny", "--model.tokenizer.vocab_size", "200"]
    adapted, retriever, index, report = (tmp_path / name for name in ("adapted", "retriever", "index", "report"))
    pretrain = ["--training.steps", "6", "--training.learning_rate", "1e-3"]
    pretrain += ["--batch_tokens", "256", "--max_tokens", "60", "--objective", "retromae"]
    run("pretrain", "--corpus", dataset, "--model", *origin, "--output", adapted, *pretrain, *TRAINING)
    assert AutoModelForMaskedLM.from_pretrained(adapted).config.model_type == "bert"
    steps = "60" if start == "model" else "20"
    finetune = ["--max_query_tokens", "32", "--max_document_tokens", "60", "--batch_size", "10"]
    finetune += ["--training.steps", steps, "--training.learning_rate", "2e-3"]
    run("finetune", "--dataset", dataset, "--model", adapted, "--output", retriever, *finetune, *TRAINING)
    for folder in (adapted, retriever):
        check_manifest(folder, contents=True)
        assert {"recipe.yaml", "versions.json", "inputs.json", "README.md", "log.jsonl"} <= {
            f.name for f in folder.iterdir()
        }
        assert not folder.with_name(f"{folder.name}.checkpoint").exists()
    log = [json.loads(line) for line in (retriever / "log.jsonl").read_text().splitlines()]
    assert log[-1]["contrastive"] < log[0]["contrastive"]
    run("index", "--corpus", dataset, "--model", retriever, "--indexes", "flat,bm25", "--output", index)
    capsys.readouterr()
    run("search", "--index", index, "tell me about the river history", "--k", "3")
    assert "river-" in capsys.readouterr().out
    systems = f"bm25,{retriever},{index}"
    run("evaluate", "--systems", systems, "--dataset", dataset, "--split", "train", "--output", report)
    figures = json.loads((report / "report.json").read_text())
    values = {system["name"]: system["measures"]["nDCG@10"]["mean"] for system in figures["systems"]}
    if start == "model":
        assert values["retriever"] > 0.5  # on training queries; a random model has about 0.1
    retrieval = Retriever.load(index)
    assert [view.name for view in retrieval.views] == ["flat", "bm25"]
    with pytest.raises(StaleIndexError, match="was built by another model"):
        Retriever.load(index, encoder=adapted)
    run("rerun", report, "--output", tmp_path / "rerun")
    assert (tmp_path / "rerun" / "per_query.tsv").read_bytes() == (report / "per_query.tsv").read_bytes()


def test_a_model_folder_is_read_by_transformers_with_the_same_embedding(model: Path) -> None:
    encoder = Encoder.from_pretrained(model, precision="float32")
    text = "a river has many parts"
    tokenizer = Tokenizer.load(model)
    ids = [tokenizer.special_id("cls"), *tokenizer.encode([text])[0].ids, tokenizer.special_id("sep")]
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(model, add_pooling_layer=False)(torch.tensor([ids])).last_hidden_state
    dense = encoder.encode_queries([text])
    torch.testing.assert_close(torch.from_numpy(dense[0]), hidden[0, 0], atol=1e-5, rtol=1e-5)


def test_the_same_recipe_gives_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(
            *("pretrain", "--corpus", dataset, "--model", "scratch", "--model.size", "tiny", "--objective", "retromae"),
            *("--model.tokenizer.vocab_size", "150", "--output", tmp_path / name, "--training.steps", "3", *TRAINING),
            *("--batch_tokens", "256"),
        )
    for file in ("model.safetensors", "tokenizer.json", "decoders.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_an_index_command_takes_a_path(dataset: Path, tmp_path: Path) -> None:
    from encloze.search.indexes.bm25 import Bm25

    Index(tmp_path / "index", corpus=Format.from_name(str(dataset)), indexes=(Bm25(),)).run()
    hit, *_ = Retriever.load(tmp_path / "index").search("violin repair")
    assert hit.id == "violin-repair" and hit.score > 0


def test_folders_may_have_the_names_of_members(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset.rename(tmp_path / "text")
    run("index", "--corpus", "text", "--model", "model", "--output", "index")
    run("evaluate", "--systems", "bm25,model,index", "--dataset", "text", "--output", "run")
    systems = json.loads((tmp_path / "run" / "report.json").read_text())["systems"]
    assert [system["name"] for system in systems] == ["bm25", "model", "index"]
    values = [system["measures"]["nDCG@10"]["mean"] for system in systems]
    assert values[1] == values[2]  # the folder named model, and the index named index of the same model


def test_pretraining_continues_with_its_decoder(
    dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pretrain(start: Path, output: Path, *more: str) -> None:
        objective = ("--objective", "retromae", "--training.steps", "1", "--training.learning_rate", "1e-9")
        run("pretrain", "--corpus", dataset, "--model", start, "--output", output, *objective, *TRAINING, *more)

    pretrain(model, tmp_path / "first")
    pretrain(tmp_path / "first", tmp_path / "second", "--seed", "5")
    assert "Loaded the decoders of the earlier pre-training: decoder" in capsys.readouterr().err
    first, second = (load_file(tmp_path / name / "decoders.safetensors") for name in ("first", "second"))
    for name, value in first.items():  # at this rate a step changes next to nothing, and another seed everything
        assert abs(value - second[name]).max() < 1e-6
    basic = ("--objective.decoding", "basic", "--objective.decoder_layers", "2")
    pretrain(tmp_path / "first", tmp_path / "third", *basic)
    assert "initialized randomly: decoder" in capsys.readouterr().err


def test_a_new_head_comes_from_the_seed(tmp_path: Path, model: Path) -> None:
    from encloze.models.origins.base import Origin

    bare = tmp_path / "bare"
    AutoModel.from_pretrained(model).save_pretrained(bare)
    Tokenizer.load(model).save(bare, 64)
    heads = []
    for seed in (0, 0, 1):
        torch.rand(3)  # whatever was drawn before
        start = Origin.from_name(str(bare)).load(lambda: iter(()), require_mlm_head=True, seed=seed)
        assert start.backbone.mlm_head_is_new
        heads.append(start.backbone.model.cls.predictions.transform.dense.weight.detach())
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_tuning_on_the_evaluated_split_is_refused(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systems = "[{type: bm25, tune_on: test}]"
    assert main(["evaluate", "--dataset", str(dataset), "--split", "test", "--systems", systems]) == 2
    assert "tuned on the evaluated split 'test'" in capsys.readouterr().err
