"""Fine-tuning with unsuitable input: one clear message, exit code 2, and no files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import BertModel

from encloze.cli.main import main
from encloze.data.dataset import DatasetSplit

Check = Callable[..., str]


@pytest.fixture
def refused(dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Start a fine-tuning that must be refused; returns the message."""

    def run(*flags: str) -> str:
        given = ["--dataset", str(dataset), "--model", str(model), "--output", str(tmp_path / "out")]
        capsys.readouterr()
        code = main(["finetune", *given, "--training.steps", "2", *flags])
        captured = capsys.readouterr()
        assert code == 2 and "Traceback" not in captured.out + captured.err
        assert not list(tmp_path.glob("out*"))
        return " ".join(captured.err.split())

    return run


@pytest.mark.parametrize("heads", [(), ("--heads", "[dense]")], ids=["heads of the model", "heads of the settings"])
@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ("[contrastive, flops]", "flops requires a sparse head: add sparse to heads"),
        ("[{type: contrastive, view: sparse}]", "requires a sparse head, but the model has only dense"),
        ("[{type: matryoshka, dims: [8, 32]}]", "dims must be below 32, the embedding dimension, not 32"),
        ("[{type: matryoshka, dims: [8], loss: l1}]", "l1 requires a sparse head"),
    ],
)
def test_loss_on_a_missing_view_is_refused(losses: str, says: str, heads: tuple[str, ...], refused: Check) -> None:
    assert says in refused("--losses", losses, *heads)


@pytest.mark.parametrize(
    ("heads", "losses", "says"),
    [
        ("dense,sparse,ordinary_tokens", "contrastive", "or one of each, not dense, sparse, ordinary_tokens"),
        ("ordinary_tokens", "[contrastive, {type: flops, target_active_dims: 20}]", "ordinary_tokens has none"),
        (
            "[{type: sparse, query_encoding: bag_of_words}]",
            "[contrastive, {type: l1, side: queries}]",
            "Remove l1 for queries",
        ),
    ],
)
def test_unsupported_heads_and_regularizers_are_refused(heads: str, losses: str, says: str, refused: Check) -> None:
    assert says in refused("--heads", heads, "--losses", losses)


@pytest.mark.parametrize("losses", ["[listwise]", "[contrastive, {type: matryoshka, dims: [8], loss: pairwise}]"])
def test_candidate_losses_require_negatives(losses: str, refused: Check, tmp_path: Path) -> None:
    assert "requires hard negatives: set negatives" in refused("--losses", losses)
    (tmp_path / "run.trec").write_text("q-river-history Q0 engine-history 1 1.0 x\n")
    none = ("--negatives", str(tmp_path / "run.trec"), "--negatives_per_query", "0")
    assert "requires hard negatives: set negatives" in refused("--losses", losses, *none)


def test_negatives_outside_the_corpus_are_reported(refused: Check, tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("q-river-history Q0 nowhere 1 1.0 x\n")
    assert "(1 are not in the corpus, for example nowhere)" in refused("--negatives", str(tmp_path / "run.trec"))


def test_documents_with_the_same_text_are_refused(refused: Check, dataset: Path) -> None:
    rows = [json.loads(line) for line in (dataset / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    same = [json.dumps({"_id": row["_id"], "title": "", "text": "the same"}) + "\n" for row in rows]
    (dataset / "corpus.jsonl").write_text("".join(same), encoding="utf-8")
    assert "all 40 documents have the same text" in refused()


def test_warning_of_a_sparse_view_with_a_random_mlm_head(
    dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    BertModel.from_pretrained(model).save_pretrained(bare)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_bytes((model / name).read_bytes())
    for start, warned in ((bare, True), (model, False)):
        output = tmp_path / f"from-{start.name}"
        given = [
            "--dataset",
            str(dataset),
            "--model",
            str(start),
            "--output",
            str(output),
            "--heads",
            "[dense, sparse]",
        ]
        short = ["--heads", "[dense, sparse]", "--batch_size", "4", "--training.steps", "1"]
        capsys.readouterr()
        assert main(["finetune", *given, *short]) == 0
        assert (
            "is randomly initialized: retrieval quality will be low" in " ".join(capsys.readouterr().err.split())
        ) == warned


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("kl_divergence", "set its temperature to about 0.05"),
        ("{type: kl_divergence, temperature: 0.05}", ""),
        ("margin_mse", "margins of cosines are at most 2"),
    ],
)
def test_warning_of_distillation_into_cosine_similarities(
    loss: str, says: str, dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.trec").write_text(
        "q-river-history Q0 river-history 1 9 x\nq-river-history Q0 engine-history 2 1 x\n"
    )
    teacher = ("--teacher", str(tmp_path / "run.trec"), "--negatives", str(tmp_path / "run.trec"))
    given = ("--dataset", str(dataset), "--model", str(model), "--output", str(tmp_path / "out"))
    short = ("--heads", "[{type: dense, normalize: true}]", "--training.steps", "1", "--losses", f"[{loss}]")
    assert main(["finetune", *given, *teacher, *short]) == 0
    message = " ".join(capsys.readouterr().err.split())
    assert says in message if says else "temperature" not in message


def test_a_missing_tracker_is_reported_before_the_data_is_read(refused: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetSplit, "__init__", None)
    assert "the tracker aim is not installed. Install it: pip install aim" in refused("--training.trackers", "[aim]")
