"""The first losses of each kind of training: a change that is not meant to change the mathematics leaves them alone.

After a change that is meant to, write them anew with ``python tests/golden/test_losses.py`` and say why in the commit.
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
from encloze.training.loop import Training

RECORD = Path(__file__).with_name("losses.json")
TRAINING = Training(learning_rate=1e-3, steps=20, precision="float32", log_every=1, save_every=0)
NO_TERMS = {"step", "seconds", "learning_rate", "precision", "epoch"}


def losses(name: str, folder: Path) -> dict[str, list[float]]:
    """The terms of 20 steps of an objective, or of fine-tuning, from the toy model on the toy texts."""
    dataset = Format.named(str(toys.write_dataset(folder / "toys")))
    model = Origin.named(str(toys.write_model(folder / "model")))
    output = folder / "output"
    if name == "simcse":  # its two views of a text differ by dropout, which the toy model has not
        toys.encoder("bert", toys.tokenizer().size, dropout=0.1).save(Path(str(model.model)))  # type: ignore[attr-defined]
    if name == "finetune":
        Finetune(
            dataset, model, output, max_query_tokens=32, max_document_tokens=64, batch_size=8, training=TRAINING
        ).run()
    else:
        Pretrain(dataset, model, Objective.named(name), output, batch_tokens=512, training=TRAINING).run()
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    terms = [name for name in lines[0] if name not in NO_TERMS and not name.endswith("right")]
    return {term: [line[term] for line in lines] for term in terms}


@pytest.mark.parametrize("name", ["finetune", *Objective.members()])
def test_losses_are_what_they_were(name: str, tmp_path: Path) -> None:
    expected = json.loads(RECORD.read_text(encoding="utf-8"))[name]
    found = losses(name, tmp_path)
    assert found.keys() == expected.keys()
    for term, values in expected.items():
        assert found[term] == pytest.approx(values, abs=1e-4), term


if __name__ == "__main__":
    record = {}
    for each in ("finetune", *Objective.members()):
        with tempfile.TemporaryDirectory() as place:
            record[each] = {term: [round(v, 6) for v in values] for term, values in losses(each, Path(place)).items()}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
