"""Test of the recipe gpl: generated queries, mined negatives, distillation, with toy models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import toys
from encloze import recipe
from encloze.backbones.hf.generation import TextGenerationModel
from encloze.backbones.hf.loading import quiet_transformers
from encloze.cli.main import main
from encloze.commands.base import Command
from encloze.commands.run import Run
from encloze.data.formats.generated_queries import GeneratedQueries
from encloze.data.runs import read_run
from encloze.storage.json_files import read_json


def write_reranker(folder: Path) -> Path:
    """Write a tiny cross-encoder in the format of transformers."""
    made = toys.tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(1)
    config = BertConfig(vocab_size=made.vocab_size, max_position_embeddings=128, num_labels=1, **sizes)
    folder.mkdir()
    with quiet_transformers():
        BertForSequenceClassification(config).save_pretrained(folder)
    made.save(folder, 128)
    return folder


@pytest.fixture
def arguments(tmp_path: Path, dataset: Path, model: Path) -> list[str]:
    """Arguments of the recipe with tiny models."""
    flags = {
        "dataset": f"{{type: titles, corpus: {dataset}, min_words: 1}}",
        "model": model,
        "output": tmp_path / "chain",
        "stages.generated.generator.model": toys.write_writer(tmp_path / "t5"),
        "stages.generated.generator.precision": "float32",
        "stages.generated.generator.max_new_tokens": 8,
        "stages.generated.min_words": 5,
        "stages.scores.model": write_reranker(tmp_path / "reranker"),
        "stages.scores.precision": "float32",
        "stages.scores.depth": 10,
        "stages.distilled.training": "{steps: 3, precision: float32}",
        "stages.distilled.max_document_tokens": 60,
        "stages.distilled.max_query_tokens": 32,
    }
    return ["run", "gpl", *(str(word) for name, value in flags.items() for word in (f"--{name}", value))]


def test_recipe_gpl_trains_a_retriever_and_resumes(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain, whole, calls = tmp_path / "chain", TextGenerationModel.generate, list[Any]()

    class Killed(BaseException):
        """Simulates a killed process."""

    def until_the_second(self: Any, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise Killed
        return whole(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(TextGenerationModel, "generate", until_the_second)
        with pytest.raises(Killed):
            main(arguments)
    calls.clear()
    monkeypatch.setattr(
        TextGenerationModel, "generate", lambda self, *given: calls.append(given) or whole(self, *given)
    )
    assert main(arguments) == 0
    assert len(calls) == 2  # the first of three batches was saved
    said = capsys.readouterr().out
    assert "distilled on generated queries" in said and f"All results are in {chain}" in said
    queries = {line.split("\t")[0] for line in (chain / "generated" / "qrels" / "train.tsv").read_text().splitlines()}
    assert len(read_run(chain / "mined")) > 100 and read_run(chain / "scores").keys() <= queries
    assert (chain / "distilled" / "encloze.json").is_file()
    made_from = read_json(chain / "distilled" / "inputs.json")["inputs"]
    assert made_from["dataset"]["path"] == str(chain / "generated")
    assert made_from["dataset.corpus"]["path"] == str(tmp_path / "toys")
    for command in ("generate", "mine", "score", "finetune", "evaluate"):
        monkeypatch.setattr(Command.member(command), "run", None)
    assert main(arguments) == 0  # all stages are complete


def test_stages_combine_the_corpus_with_generated_queries(dataset: Path, tmp_path: Path) -> None:
    titles = {"type": "titles", "corpus": str(dataset), "min_words": 1}
    both = {"type": "generated_queries", "corpus": "@dataset", "path": "@generated"}
    stages = {
        "generated": {"verb": "generate", "corpus": "@dataset", "generator": "some/model"},
        "mined": {"verb": "mine", "dataset": both},
        "evaluation": {"verb": "evaluate", "dataset": {**both, "corpus": "@corpus"}, "systems": ["bm25"]},
    }
    tree = {"dataset": titles, "corpus": str(dataset), "output": str(tmp_path / "out"), "stages": stages}
    run: Run = recipe.build(Run, tree)
    assert run.build_stage("mined").dataset == GeneratedQueries(run.dataset, tmp_path / "out" / "generated")
    assert run.build_stage("evaluation").dataset == GeneratedQueries(run.corpus, tmp_path / "out" / "generated")
