"""Losses of the first 20 steps of each kind of training equal recorded values.

A refactoring must not change them. After a change of the mathematics, record new values with
``python tests/golden/test_losses.py`` and give the reason in the commit message.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest

import toys
from encloze.commands.finetune import Finetune
from encloze.commands.pretrain import Pretrain
from encloze.data.formats.base import Format
from encloze.models.origins.base import Origin
from encloze.objectives.base import Objective
from encloze.training.arguments import TrainingArguments

RECORD = Path(__file__).with_name("losses.json")
TRAINING = TrainingArguments(learning_rate=1e-3, steps=20, precision="float32", logging_steps=1, save_steps=0)
NOT_LOSSES = {"step", "seconds", "learning_rate", "precision", "epoch"}


def train(name: str, folder: Path) -> dict[str, list[float]]:
    """Train the toy model on the toy texts for 20 steps and return the values of each loss term."""
    dataset = Format.from_name(str(toys.write_dataset(folder / "toys")))
    model_folder, output = toys.write_model(folder / "model"), folder / "output"
    if name == "simcse":  # needs dropout, which the toy model does not have
        toys.encoder("bert", toys.tokenizer().vocab_size, dropout=0.1).save(model_folder)
    model = Origin.from_name(str(model_folder))
    if name == "finetune":
        Finetune(
            dataset, model, output, max_query_tokens=32, max_document_tokens=64, batch_size=8, training=TRAINING
        ).run()
    else:
        Pretrain(dataset, model, Objective.from_name(name), output, batch_tokens=512, training=TRAINING).run()
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    terms = [key for key in lines[0] if key not in NOT_LOSSES and not key.endswith("accuracy")]
    return {term: [line[term] for line in lines] for term in terms}


@pytest.mark.parametrize("name", ["finetune", *Objective.members()])
def test_losses_equal_the_recorded_values(name: str, tmp_path: Path) -> None:
    losses, expected = train(name, tmp_path), json.loads(RECORD.read_text(encoding="utf-8"))[name]
    assert losses.keys() == expected.keys()
    for term, values in expected.items():
        assert losses[term] == pytest.approx(values, abs=1e-4), term


if __name__ == "__main__":
    recorded = {}
    for each in ("finetune", *Objective.members()):
        with tempfile.TemporaryDirectory() as folder:
            losses = train(each, Path(folder))
        recorded[each] = {term: [round(value, 6) for value in values] for term, values in losses.items()}
    RECORD.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
