"""Re-rankers: pairs are joined as the tokenizer joins them, and scores are what transformers gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

import toys
from encloze.cli.main import main
from encloze.commands import score as scoring
from encloze.data.runs import read_run, write_run
from encloze.errors import CheckpointError
from encloze.models.cross_encoder import CrossEncoder
from encloze.text.pairs import pad_pairs

KINDS = ("bert", "roberta", "xlm_roberta", "distilbert", "mpnet", "deberta_v2", "electra", "modernbert")
PAIRS = [
    ("a river", "the river has many parts and every part must fit"),
    ("engine", "a broken engine is mended slowly with simple tools " * 4),
    ("glacier dangers", ""),
]
TRAINING = ("--training.precision", "float32", "--training.log_every", "2")


def saved(folder: Path, kind: str = "bert") -> Path:
    """A tiny encoder with its tokenizer."""
    folder.mkdir()
    tokenizer = toys.tokenizer()
    toys.encoder(kind, tokenizer.size).save(folder)
    tokenizer.save(folder, 64)
    return folder


# --------------------------------------------------------------------------------------------------------------- pairs


def test_pairs_are_joined_as_the_tokenizer_joins_them() -> None:
    tokenizer = toys.tokenizer()
    queries, documents = (tokenizer.encode([pair[side] for pair in PAIRS]) for side in (0, 1))
    found = pad_pairs(queries, documents, tokenizer, 200)
    for row, (query, document) in enumerate(PAIRS):
        expected = tokenizer.core.encode(query, document)
        real = found.attention[row]
        assert found.ids[row][real].tolist() == expected.ids
        assert found.types[row][real].tolist() == expected.type_ids
        assert (found.ids[row][~real] == tokenizer.id_of("pad")).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(8, 50))
def test_documents_are_cut_first_and_queries_only_beyond_half(query: int, document: int, limit: int) -> None:
    tokenizer = toys.tokenizer()
    asked, found = (tokenizer.encode([" ".join(["river"] * count)]) for count in (query, document))
    q, d, room = len(asked[0].ids), len(found[0].ids), limit - 3
    padded = pad_pairs(asked, found, tokenizer, limit)
    kept_query = min(q, max(room - d, room // 2))
    assert padded.attention.sum() == 3 + kept_query + min(d, room - kept_query) <= limit
    assert padded.types.sum() == 1 + min(d, room - kept_query)


# -------------------------------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_scores_whatever_the_padding(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = CrossEncoder.load(str(saved(tmp_path / "start", kind)), precision="float32", max_tokens=40)
    together = encoder.score(PAIRS)
    assert together.shape == (3,) and together.dtype == np.float32 and len(set(together.tolist())) == 3
    for pair, expected in zip(PAIRS, together, strict=True):
        np.testing.assert_allclose(encoder.score([pair]), [expected], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_re_ranker_is_transformers_own(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = CrossEncoder.load(str(saved(tmp_path / "start", kind)), precision="float32", max_tokens=60)
    (tmp_path / "made").mkdir()
    encoder.save(tmp_path / "made")
    loaded = CrossEncoder.trained(str(tmp_path / "made"), precision="float32")
    np.testing.assert_allclose(loaded.score(PAIRS), encoder.score(PAIRS), atol=1e-6)
    assert loaded.max_tokens == 60
    model, report = AutoModelForSequenceClassification.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    joined = loaded.tokenizer.core.encode(*PAIRS[0])
    tells = getattr(model.config, "type_vocab_size", 0) > 1
    types = {"token_type_ids": torch.tensor([joined.type_ids])} if tells else {}
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([joined.ids]), **types).logits
    np.testing.assert_allclose(logits[0].numpy(), loaded.score(PAIRS[:1]), atol=1e-5)


def test_scores_are_not_rounded_where_products_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    scores = torch.from_numpy(CrossEncoder.load(str(saved(tmp_path / "m")), precision="bfloat16").score(PAIRS))
    assert (scores.bfloat16().float() != scores).any()


def test_an_encoder_that_was_never_taught_to_score_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"is no re-ranker .*BertForMaskedLM.*finetune_reranker"):
        CrossEncoder.trained(str(folder))
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["BertForSequenceClassification"], "id2label": {str(n): str(n) for n in range(3)}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="tells 3 classes apart|has 3 classes|3 classes"):
        CrossEncoder.trained(str(folder))


# ------------------------------------------------------------------------------------------------------------ the verbs

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, dataset: Path) -> Run:
    """Runs a verb on the toys."""
    assert main(["evaluate", "--systems", "bm25", "--dataset", str(dataset), "--split", "train", "--output",
                 str(tmp_path / "bm25")]) == 0  # fmt: skip

    def verb(*words: Any) -> int:
        return main([str(word) for word in (*words, "--dataset", dataset)])

    return verb


def trained(run: Run, tmp_path: Path, *more: Any) -> Path:
    """A re-ranker of the toys."""
    start = saved(tmp_path / "start")
    negatives = ("--negatives", tmp_path / "bm25" / "runs" / "bm25.trec", "--negatives_per_query", 3)
    how = ("--training.steps", 60, "--training.learning_rate", 3e-3, "--batch_size", 5, *TRAINING, *more)
    assert run("finetune_reranker", "--model", start, "--output", tmp_path / "ce", *negatives, *how) == 0
    return tmp_path / "ce"


@pytest.mark.parametrize("loss", ["listwise", "pairwise", "pointwise"])
def test_a_re_ranker_learns_scores_and_is_judged(
    loss: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(run, tmp_path, "--losses", f"[{loss}]")
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert log[-1][loss] < 0.85 * log[0][loss] and log[-1]["right"] > log[0]["right"]
    evaluate = ("evaluate", "--systems", "bm25", "--split", "dev", "--reranker", folder, "--rerank_depth", 5)
    assert run(*evaluate, "--output", tmp_path / "judged") == 0
    assert "bm25 + ce" in capsys.readouterr().out
    runs = {file.stem: read_run(file) for file in (tmp_path / "judged" / "runs").iterdir()}
    plain, again = (next(of for name, of in runs.items() if ("ce" in name) == wanted) for wanted in (False, True))
    for query, scores in plain.items():
        first, second = (sorted(of, key=lambda d: -of[d]) for of in (scores, again[query]))
        assert set(first) == set(second) and first[5:] == second[5:]  # what is not scored keeps its order


def test_scores_are_written_for_candidates_and_relevant_documents(run: Run, tmp_path: Path, dataset: Path) -> None:
    folder = trained(run, tmp_path)
    given = ("--candidates", tmp_path / "bm25" / "runs" / "bm25.trec", "--depth", 3, "--precision", "float32")
    assert run("score", "--model", folder, *given, "--output", tmp_path / "scores") == 0
    scores, candidates = read_run(tmp_path / "scores"), read_run(tmp_path / "bm25" / "runs" / "bm25.trec")
    assert len(scores) == 20
    for query, of_query in scores.items():
        wanted = set(sorted(candidates[query], key=lambda d: (candidates[query][d], d), reverse=True)[:3])
        assert set(of_query) == wanted | {query.removeprefix("q-")}
    encoder = CrossEncoder.trained(str(folder), precision="float32")
    query, of_query = next(iter(scores.items()))
    texts = {str(d["_id"]): f"{d['title']} {d['text']}" for d in toys.documents()}
    words = next(str(q["text"]) for q in toys.queries() if q["_id"] == query)
    expected = encoder.score([(words, texts[document]) for document in of_query])
    np.testing.assert_allclose(list(of_query.values()), expected, atol=1e-5)
    teach = ("--teacher", tmp_path / "scores", "--negatives", tmp_path / "scores", "--losses", "[kl_divergence]")
    student = ("--model", saved(tmp_path / "student"), "--output", tmp_path / "taught", "--batch_size", 4)
    assert run("finetune", *student, *teach, "--training.steps", 3, *TRAINING, "--negatives_per_query", 2) == 0


def test_scores_of_a_draw_are_the_same_as_among_all(run: Run, tmp_path: Path) -> None:
    given = ("--model", trained(run, tmp_path), "--candidates", tmp_path / "bm25" / "runs" / "bm25.trec", "--depth", 3)
    drawn = dict[str, dict[str, dict[str, float]]]()
    for name, more in (("all", ()), ("some", (5,)), ("more", (8,)), ("others", (5, "--seed", 1))):
        most = ("--most_queries", *more) if more else ()
        assert run("score", *given, *most, "--precision", "float32", "--output", tmp_path / name) == 0
        drawn[name] = read_run(tmp_path / name)
    assert [len(drawn[name]) for name in drawn] == [20, 5, 8, 5]
    assert drawn["some"].keys() < drawn["more"].keys() and drawn["some"].keys() != drawn["others"].keys()
    for query, scores in drawn["more"].items():
        assert scores == pytest.approx(drawn["all"][query], abs=1e-5)  # other texts lie beside them in a batch
    assert run("score", *given, "--most_queries", 0, "--output", tmp_path / "none") == 2


def test_scoring_goes_on_where_it_was_killed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = trained(run, tmp_path)
    given = ("--model", folder, "--candidates", tmp_path / "bm25" / "runs" / "bm25.trec", "--depth", 4)
    given += ("--precision", "float32")
    monkeypatch.setattr(scoring, "_QUERIES", 3)
    assert run("score", *given, "--output", tmp_path / "whole") == 0

    class Killed(BaseException):
        """The process is gone."""

    calls, score = [], CrossEncoder.score

    def until_the_third(self: CrossEncoder, pairs: Any) -> np.ndarray:
        calls.append(len(pairs))
        if len(calls) == 3:
            raise Killed
        return score(self, pairs)

    with monkeypatch.context() as patch:
        patch.setattr(CrossEncoder, "score", until_the_third)
        with pytest.raises(Killed):
            run("score", *given, "--output", tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
    partial = tmp_path / "scores.unfinished" / "run.trec"
    with partial.open("a") as stream:
        stream.write("q-comet-repair Q0 half-a-li")  # what a kill may leave
    calls.clear()
    monkeypatch.setattr(CrossEncoder, "score", lambda self, pairs: calls.append(len(pairs)) or score(self, pairs))
    assert run("score", *given, "--output", tmp_path / "scores") == 2  # an unfinished run is in the way
    assert run("score", *given, "--output", tmp_path / "scores", "--resume") == 0
    assert len(calls) == 5  # the first six of twenty queries were done
    assert (tmp_path / "scores" / "run.trec").read_text() == (tmp_path / "whole" / "run.trec").read_text()
    assert not partial.parent.exists()


def test_a_search_is_put_in_a_new_order(run: Run, tmp_path: Path, dataset: Path, capsys: Any) -> None:
    folder = trained(run, tmp_path)
    assert run("index", "--indexes", "bm25", "--output", tmp_path / "index") == 0
    capsys.readouterr()
    ask = ["search", "tell me about the river history", "--index", str(tmp_path / "index"), "--reranker", str(folder)]
    assert main(ask) == 0
    assert "(found " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--losses", "[contrastive]"), "the loss contrastive compares queries with each other's documents"),
        (("--losses", "[margin_mse]"), "learns from a teacher's scores: give them as teacher"),
        (("--max_tokens", "4096"), "max_tokens is 4096, and"),
        (("--split", "test"), "of negatives ranks no document for the queries of the split 'test' that is not"),
        (("--negatives_per_query", "0"), "negatives_per_query must be 1 or more"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    flags: tuple[str, str], says: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--model", saved(tmp_path / "start"), "--negatives", tmp_path / "bm25" / "runs" / "bm25.trec")
    assert run("finetune_reranker", *given, "--output", tmp_path / "ce", *flags) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.glob("ce*"))


def test_queries_without_candidates_are_not_scored_for(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(run, tmp_path)
    candidates = read_run(tmp_path / "bm25" / "runs" / "bm25.trec")
    some = list(candidates)[:2]
    write_run(tmp_path / "some.trec", {query: {**candidates[query], "gone": 99.0} for query in some})
    given = ("--model", folder, "--candidates", tmp_path / "some.trec", "--depth", 3)
    capsys.readouterr()
    assert run("score", *given, "--output", tmp_path / "scores") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "18 of 20 queries have no candidates and are not scored for" in told
    assert "1 documents of" in told and "and are left out, among them gone" in told
    assert list(read_run(tmp_path / "scores")) == some


def test_scores_of_another_split_are_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(run, tmp_path)
    given = ("--candidates", tmp_path / "bm25" / "runs" / "bm25.trec", "--output", tmp_path / "scores")
    assert run("score", "--model", folder, *given, "--split", "test") == 2
    assert "ranks nothing for the queries of the split 'test'" in capsys.readouterr().err
    assert not list(tmp_path.glob("scores*"))
