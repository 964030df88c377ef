"""Fine-tuning on what does not fit it: one clear message and exit code 2, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import BertModel

from encloze.cli.main import main

Check = Callable[..., str]


@pytest.fixture
def refused(dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Begin a fine-tuning that must be refused; returns what was said."""

    def run(*flags: str) -> str:
        given = ["--dataset", str(dataset), "--model", str(model), "--output", str(tmp_path / "out")]
        capsys.readouterr()
        code = main(["finetune", *given, "--training.steps", "2", *flags])
        captured = capsys.readouterr()
        assert code == 2 and "Traceback" not in captured.out + captured.err
        assert not list(tmp_path.glob("out*"))
        return " ".join(captured.err.split())

    return run


@pytest.mark.parametrize("heads", [(), ("--heads", "[dense]")], ids=["as the checkpoint has them", "as given"])
@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ("[contrastive, flops]", "flops puts a price on term weights: add sparse to heads"),
        ("[{type: contrastive, view: sparse}]", "is over the sparse view, and the model makes dense alone"),
        ("[{type: matryoshka, widths: [8, 32]}]", "widths must be below 32, the width of embeddings, not 32"),
        ("[{type: matryoshka, widths: [8], loss: l1}]", "l1 puts a price on term weights"),
    ],
)
def test_a_loss_over_a_view_that_is_not_made_is_refused(
    losses: str, says: str, heads: tuple[str, ...], refused: Check
) -> None:
    assert says in refused("--losses", losses, *heads)


@pytest.mark.parametrize(
    ("heads", "losses", "says"),
    [
        ("dense,sparse,ordinary_tokens", "contrastive", "or both, not dense, sparse, ordinary_tokens"),
        ("ordinary_tokens", "[contrastive, {type: flops, active_terms: 20}]", "ordinary_tokens has none"),
        ("[{type: sparse, queries: bag}]", "[contrastive, {type: l1, side: queries}]", "Leave l1 of queries out"),
    ],
)
def test_views_and_prices_that_cannot_be_are_refused(heads: str, losses: str, says: str, refused: Check) -> None:
    assert says in refused("--heads", heads, "--losses", losses)


@pytest.mark.parametrize("losses", ["[listwise]", "[contrastive, {type: matryoshka, widths: [8], loss: pairwise}]"])
def test_a_loss_over_candidates_wants_negatives(losses: str, refused: Check, tmp_path: Path) -> None:
    assert "compares a query's relevant document with its own negatives" in refused("--losses", losses)
    (tmp_path / "run.trec").write_text("q-river-history Q0 engine-history 1 1.0 x\n")
    none = ("--negatives", str(tmp_path / "run.trec"), "--negatives_per_query", "0")
    assert "compares a query's relevant document with its own negatives" in refused("--losses", losses, *none)


def test_negatives_that_are_not_in_the_corpus_are_told(refused: Check, tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("q-river-history Q0 nowhere 1 1.0 x\n")
    assert "(1 are not in it, among them nowhere)" in refused("--negatives", str(tmp_path / "run.trec"))


def test_documents_that_all_say_the_same_are_refused(refused: Check, dataset: Path) -> None:
    rows = [json.loads(line) for line in (dataset / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    same = [json.dumps({"_id": row["_id"], "title": "", "text": "the same"}) + "\n" for row in rows]
    (dataset / "corpus.jsonl").write_text("".join(same), encoding="utf-8")
    assert "all 40 documents have the same text" in refused()


def test_a_sparse_view_from_a_head_that_was_never_trained_is_warned_of(
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
        assert ("was never trained: it will find little" in " ".join(capsys.readouterr().err.split())) == warned


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("kl_divergence", "give it a temperature of about 0.05"),
        ("{type: kl_divergence, temperature: 0.05}", ""),
        ("margin_mse", "those of cosines are 2 at most"),
    ],
)
def test_a_teachers_scores_on_bare_cosines_are_warned_of(
    loss: str, says: str, dataset: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.trec").write_text(
        "q-river-history Q0 river-history 1 9 x\nq-river-history Q0 engine-history 2 1 x\n"
    )
    taught = ("--teacher", str(tmp_path / "run.trec"), "--negatives", str(tmp_path / "run.trec"))
    given = ("--dataset", str(dataset), "--model", str(model), "--output", str(tmp_path / "out"))
    short = ("--heads", "[{type: dense, normalise: true}]", "--training.steps", "1", "--losses", f"[{loss}]")
    assert main(["finetune", *given, *taught, *short]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert says in told if says else "temperature" not in told
