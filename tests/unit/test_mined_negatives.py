"""Mining of hard negatives by finetune: the same negatives as those of mine, kept for a resumed run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from encloze.cli.main import main
from encloze.commands import _mined_negatives
from encloze.commands.mine import Mine
from encloze.training import loop

FLAGS = ("--training.steps", "4", "--batch_size", "4", "--max_document_tokens", "24", "--evaluate_on", "null")


class Killed(BaseException):
    """Simulates a kill of the process."""


def finetune(dataset: Path, model: Path | str, output: Path, *flags: str) -> int:
    return main(["finetune", "--dataset", str(dataset), "--model", str(model), "--output", str(output), *FLAGS, *flags])


def same_weights(first: Path, second: Path) -> bool:
    weights, others = (load_file(folder / "model.safetensors") for folder in (first, second))
    return all((weights[name] == others[name]).all() for name in weights)


@pytest.mark.parametrize("ranks_well", [True, False])
def test_training_uses_the_negatives_that_mine_writes(
    ranks_well: bool, dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mined_negatives, "_UNUSABLE", 0.0 if ranks_well else 9.0)
    monkeypatch.setattr(_mined_negatives, "_RELATIVE_MARGIN", -9.0)  # random weights give nearly equal scores
    assert finetune(dataset, model, tmp_path / "short", "--mine_negatives", "true") == 0
    flags = ["--range_max", "30", "--num_negatives", "20", "--sources", f"bm25,{model}" if ranks_well else "bm25"]
    flags += ["--scorer", str(model), "--relative_margin", "-9"] if ranks_well else []
    assert main(["mine", "--dataset", str(dataset), "--output", str(tmp_path / "mined"), *flags]) == 0
    assert finetune(dataset, model, tmp_path / "long", "--negatives", str(tmp_path / "mined")) == 0
    assert finetune(dataset, model, tmp_path / "without") == 0
    assert same_weights(tmp_path / "short", tmp_path / "long")
    assert not same_weights(tmp_path / "short", tmp_path / "without")
    assert not list(tmp_path.glob("*.checkpoint*"))


def test_given_negatives_are_not_mined_again(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["mine", "--dataset", str(dataset), "--output", str(tmp_path / "mined")]) == 0
    monkeypatch.setattr(Mine, "run", None)
    given = ("--negatives", str(tmp_path / "mined"), "--mine_negatives", "true")
    assert finetune(dataset, model, tmp_path / "out", *given) == 0


def test_a_resumed_run_keeps_its_negatives(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mined_negatives, "_RELATIVE_MARGIN", -9.0)
    monkeypatch.setattr(_mined_negatives, "_UNUSABLE", 0.0)
    flags = ("--mine_negatives", "true", "--training.save_steps", "1")
    assert finetune(dataset, model, tmp_path / "whole", *flags) == 0
    save, saved = loop.save_checkpoint, list[int]()

    def killed_after_two(*arguments: object, **named: object) -> None:
        save(*arguments, **named)  # type: ignore[arg-type]
        saved.append(1)
        if len(saved) == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", killed_after_two)
        with pytest.raises(Killed):
            finetune(dataset, model, tmp_path / "out", *flags)
    with monkeypatch.context() as patch:
        patch.setattr(Mine, "run", None)
        assert finetune(dataset, model, tmp_path / "out", *flags, "--resume") == 0
    assert same_weights(tmp_path / "whole", tmp_path / "out")


def test_interrupted_mining_is_resumed(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    flags = ("--mine_negatives", "true")
    monkeypatch.setattr(_mined_negatives, "_UNUSABLE", 9.0)
    with monkeypatch.context() as patch:
        patch.setattr(Mine, "_filter", killed)
        with pytest.raises(Killed):
            finetune(dataset, model, tmp_path / "out", *flags)
    with monkeypatch.context() as patch:
        patch.setattr("encloze.systems.bm25.Bm25.prepare", None)  # the finished ranking is not repeated
        assert finetune(dataset, model, tmp_path / "out", *flags, "--resume") == 0
    assert finetune(dataset, model, tmp_path / "whole", *flags) == 0
    assert same_weights(tmp_path / "whole", tmp_path / "out")


def test_a_collection_without_negatives_trains_with_in_batch_negatives(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": f"d{n}", "text": f"text number {n}"}) for n in range(4)]
    (data / "corpus.jsonl").write_text("\n".join(rows), encoding="utf-8")
    rows = [json.dumps({"_id": f"q{n}", "text": f"question {n}"}) for n in range(4)]
    (data / "queries.jsonl").write_text("\n".join(rows), encoding="utf-8")
    judgments = [f"q{query}\td{document}\t1" for query in range(4) for document in range(4)]
    (data / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judgments]), encoding="utf-8")
    assert finetune(data, model, tmp_path / "out", "--mine_negatives", "true") == 0
    assert "no hard negatives were found" in " ".join(capsys.readouterr().err.split())
