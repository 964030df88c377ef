"""Tests of query augmentation: probability, independence of epochs, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toys
from encloze.cli.main import main
from encloze.commands.finetune import Finetune
from encloze.data.corpus import Corpus
from encloze.data.records import Document, TrainingExample
from encloze.evaluation.query_perturbations.case import Case
from encloze.evaluation.query_perturbations.doubled import Doubled
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.storage.run_state import RunState
from encloze.training.query_augmentation import QueryAugmentation
from encloze.training.retrieval_batches import RetrievalBatches

TEXT = "tell me about the river"


def test_a_fraction_of_the_queries_is_augmented_in_each_epoch() -> None:
    augmentation = QueryAugmentation((Case(), Doubled()), 0.3, seed=0)
    made = [[augmentation(TEXT, number, epoch) for number in range(1000)] for epoch in (0, 1)]
    changed = [[text != TEXT for text in epoch] for epoch in made]
    assert all(abs(np.mean(epoch) - 0.3) < 0.05 for epoch in changed)
    assert 0.04 < np.mean(np.logical_and(*changed)) < 0.15, "the choices of two epochs must be independent"
    capitals = [text == TEXT.upper() for text in made[0] if text != TEXT]
    assert 0.4 < np.mean(capitals) < 0.6
    assert made[0] == [QueryAugmentation((Case(), Doubled()), 0.3, seed=0)(TEXT, number, 0) for number in range(1000)]
    assert made[0] != [QueryAugmentation((Case(), Doubled()), 0.3, seed=1)(TEXT, number, 0) for number in range(1000)]
    errors = {text for epoch in made for text in epoch} - {TEXT, TEXT.upper()}
    assert len(errors) > 50, "each query has its own typing error"


def test_batches_contain_augmented_queries_and_unchanged_prompts(tmp_path: Path) -> None:
    tokenizer = toys.tokenizer()
    encoder = BiEncoder(
        toys.backbone(tokenizer.vocab_size), tokenizer, EncoderConfig((Dense("mean", False),), "ask: ", "", 32, 64)
    )
    corpus = Corpus.from_documents(
        [Document(str(n), "", text) for n, text in enumerate(toys.texts())], tmp_path / "c.arrow"
    )
    examples = [TrainingExample(query["text"], (number,)) for number, query in enumerate(toys.queries())]
    augmentation = QueryAugmentation((Doubled(word_fraction=1.0),), 0.5, seed=0)
    plain, perturbed = (
        RetrievalBatches(encoder, corpus, examples, negatives=0, seed=0, augmentation=each)
        for each in (None, augmentation)
    )
    numbers, seen = np.arange(len(examples)), set()
    for epoch in range(2):
        before, after = (made(numbers, epoch, torch.device("cpu")) for made in (plain, perturbed))
        for number, example in enumerate(examples):
            text = augmentation(example.query, number, epoch)
            wanted = tokenizer.encode([f"ask: {text}"])[0].ids.tolist()
            assert _ids(after, number)[1:-1] == wanted[:30]
            assert (_ids(after, number) == _ids(before, number)) == (text == example.query)
            seen.add((number, text != example.query))
        assert (after.candidates == before.candidates).all()
    assert len(seen) > len(examples) * 1.2  # some are augmented in one epoch only


def _ids(batch: Any, row: int) -> list[int]:
    return batch.queries.ids[row][batch.queries.attention_mask[row].bool()].tolist()


def finetune(output: Path, dataset: Path, model: Path, *more: object) -> int:
    given = ["finetune", "--dataset", dataset, "--model", model, "--output", output, "--batch_size", 8]
    given += [
        "--training.epochs",
        4,
        "--training.save_steps",
        4,
        "--training.logging_steps",
        1,
        "--max_query_tokens",
        32,
    ]
    given += ["--max_document_tokens", 64, "--training.precision", "float32", *more]
    return main([str(each) for each in given])


def test_resumed_training_has_the_same_augmented_queries(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    perturbed = ("--query_augmentations", "typos,dropped", "--augmentation_probability", 0.7)
    assert finetune(tmp_path / "whole", dataset, model, *perturbed) == 0
    assert finetune(tmp_path / "plain", dataset, model) == 0

    class Killed(BaseException):
        """Simulates a killed process."""

    write = RunState.append_log

    def until_step_six(self: RunState, entry: dict[str, Any]) -> None:
        if entry["step"] == 6:
            raise Killed
        write(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "append_log", until_step_six)
        with pytest.raises(Killed):
            finetune(tmp_path / "killed", dataset, model, *perturbed)
    assert finetune(tmp_path / "killed", dataset, model, *perturbed, "--resume") == 0
    assert "Resuming from step 4 of" in capsys.readouterr().err
    whole, killed, plain = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("whole", "killed", "plain"))
    assert whole == killed != plain


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_augmentation_probability_out_of_range_is_refused(
    share: float, dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        finetune(
            tmp_path / "out", dataset, model, "--query_augmentations", "typos", "--augmentation_probability", share
        )
        == 2
    )
    assert f"augmentation_probability must be above 0 and at most 1, not {share}" in " ".join(
        capsys.readouterr().err.split()
    )
    assert Finetune.__dataclass_fields__["query_augmentations"].default == ()
