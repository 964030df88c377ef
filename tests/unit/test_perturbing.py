"""Fine-tuning on perturbed queries: a share of them, others in each epoch, and the same again after a kill."""

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
from encloze.data.records import Document, Example
from encloze.evaluation.perturbations.case import Case
from encloze.evaluation.perturbations.doubled import Doubled
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import Card
from encloze.models.heads.dense import Dense
from encloze.training.perturbing import Perturbing
from encloze.training.retrieval import RetrievalBatches
from encloze.training.state import Unfinished

TEXT = "tell me about the river"


def test_a_share_is_perturbed_and_other_queries_in_each_epoch() -> None:
    perturbing = Perturbing((Case(), Doubled()), 0.3, seed=0)
    made = [[perturbing(TEXT, number, epoch) for number in range(1000)] for epoch in (0, 1)]
    changed = [[text != TEXT for text in epoch] for epoch in made]
    assert all(abs(np.mean(epoch) - 0.3) < 0.05 for epoch in changed)
    assert 0.04 < np.mean(np.logical_and(*changed)) < 0.15, "an epoch's choice should not depend on another's"
    capitals = [text == TEXT.upper() for text in made[0] if text != TEXT]
    assert 0.4 < np.mean(capitals) < 0.6
    assert made[0] == [Perturbing((Case(), Doubled()), 0.3, seed=0)(TEXT, number, 0) for number in range(1000)]
    assert made[0] != [Perturbing((Case(), Doubled()), 0.3, seed=1)(TEXT, number, 0) for number in range(1000)]
    errors = {text for epoch in made for text in epoch} - {TEXT, TEXT.upper()}
    assert len(errors) > 50, "each query is misspelt in its own way"


def test_batches_hold_the_perturbed_words_behind_their_prompt_and_others_as_they_were(tmp_path: Path) -> None:
    tokenizer = toys.tokenizer()
    encoder = BiEncoder(toys.backbone(tokenizer.size), tokenizer, Card((Dense("mean", False),), "ask: ", "", 32, 64))
    corpus = Corpus.of([Document(str(n), "", text) for n, text in enumerate(toys.texts())], tmp_path / "c.arrow")
    examples = [Example(query["text"], (number,)) for number, query in enumerate(toys.queries())]
    perturbing = Perturbing((Doubled(words=1.0),), 0.5, seed=0)
    plain, perturbed = (
        RetrievalBatches(encoder, corpus, examples, negatives=0, seed=0, perturbing=each) for each in (None, perturbing)
    )
    numbers, seen = np.arange(len(examples)), set()
    for epoch in range(2):
        before, after = (made(numbers, epoch, torch.device("cpu")) for made in (plain, perturbed))
        for number, example in enumerate(examples):
            text = perturbing(example.query, number, epoch)
            wanted = tokenizer.encode([f"ask: {text}"])[0].ids.tolist()
            assert _ids(after, number)[1:-1] == wanted[:30]
            assert (_ids(after, number) == _ids(before, number)) == (text == example.query)
            seen.add((number, text != example.query))
        assert (after.candidates == before.candidates).all()
    assert len(seen) > len(examples) * 1.2  # some are perturbed in one epoch and not in the other


def _ids(batch: Any, row: int) -> list[int]:
    return batch.queries.ids[row][batch.queries.attention[row].bool()].tolist()


def finetune(output: Path, dataset: Path, model: Path, *more: object) -> int:
    given = ["finetune", "--dataset", dataset, "--model", model, "--output", output, "--batch_size", 8]
    given += ["--training.epochs", 4, "--training.save_every", 4, "--training.log_every", 1, "--max_query_tokens", 32]
    given += ["--max_document_tokens", 64, "--training.precision", "float32", *more]
    return main([str(each) for each in given])


def test_a_killed_training_goes_on_with_the_same_perturbed_queries(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    perturbed = ("--perturbations", "typos,dropped", "--perturbed_share", 0.7)
    assert finetune(tmp_path / "whole", dataset, model, *perturbed) == 0
    assert finetune(tmp_path / "plain", dataset, model) == 0

    class Killed(BaseException):
        """The process is gone."""

    write = Unfinished.write_log

    def until_step_six(self: Unfinished, entry: dict[str, Any]) -> None:
        if entry["step"] == 6:
            raise Killed
        write(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "write_log", until_step_six)
        with pytest.raises(Killed):
            finetune(tmp_path / "killed", dataset, model, *perturbed)
    assert finetune(tmp_path / "killed", dataset, model, *perturbed, "--resume") == 0
    assert "Going on from step 4 of" in capsys.readouterr().err
    whole, killed, plain = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("whole", "killed", "plain"))
    assert whole == killed != plain


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_is_above_0_and_at_most_1(
    share: float, dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finetune(tmp_path / "out", dataset, model, "--perturbations", "typos", "--perturbed_share", share) == 2
    assert f"perturbed_share must be above 0 and at most 1, not {share}" in " ".join(capsys.readouterr().err.split())
    assert Finetune.__dataclass_fields__["perturbations"].default == ()
