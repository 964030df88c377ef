"""A panel of encoders says what their representations of a corpus, of labels and of single texts are like."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score
from transformers import AutoModelForMaskedLM

import toys
from encloze.cli.main import main
from encloze.commands.inspect import Inspect
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.data.labelled import LabelledSet
from encloze.data.labels.base import Labels
from encloze.data.positives import positives
from encloze.data.records import Document, Judgment
from encloze.evaluation.geometry import alignment, effective_rank, mean_cosine, pair_auc
from encloze.evaluation.inspection import Inspection
from encloze.evaluation.panel import EncoderFigures, Panel
from encloze.evaluation.term_activations import TermActivations
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.storage.manifest import check_manifest
from encloze.training.linear_probe import Rows, nearest

Said = pytest.CaptureFixture[str]


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A model with both views."""
    folder = toys.write_model(tmp_path / "sparse")
    EncoderConfig((Dense("mean", True), Sparse(document_top_k=9, weight=0.5)), "", "", 32, 64).write(folder)
    return folder


def inspected(dataset: Path, *models: Path, **settings: Any) -> Panel:
    made = Inspect(Format.named(str(dataset)), tuple(map(str, models)), precision="float32", **settings).run()
    assert made.panel is not None
    return made.panel


def figures(encoder: EncoderFigures, group: str) -> dict[str, float]:
    return {figure.name: figure.value for figure in encoder.figures if figure.group == group}


def test_embeddings_are_measured_as_the_model_makes_them(dataset: Path, model: Path, sparse: Path) -> None:
    bare, both = inspected(dataset, model, sparse).encoders
    for found, folder in ((bare, model), (both, sparse)):
        encoder = BiEncoder.load(str(folder), precision="float32")
        rows = encoder.encode_documents(toys.texts(), 40).dense
        dense = figures(found, "dense")
        assert dense["mean cosine"] == pytest.approx(mean_cosine(rows), abs=1e-5)
        assert dense["effective rank"] == pytest.approx(effective_rank(rows), rel=1e-4)
        asked = encoder.encode_queries([query["text"] for query in toys.queries()]).dense
        assert dense["alignment"] == pytest.approx(alignment(asked, rows), rel=1e-4)
        assert dense["own nearer"] == pytest.approx(pair_auc(asked, rows, ~np.eye(40, dtype=bool)), abs=0.002)
        assert ("spread of lengths" in dense) == (found is bare)  # the other's are 1
    assert bare.how == "bert, 32 wide; embeddings: cls, 32 wide, lengths as they come; documents cut at 64 tokens"
    assert "mean, 32 wide, length 1; sparse view: sparse" in both.how
    pooled = inspected(dataset, model, pooling="mean").encoders[0]
    assert "embeddings: mean" in pooled.how and pooled.figures[0].value != bare.figures[0].value


def test_words_of_the_sparse_view_are_counted(dataset: Path, sparse: Path) -> None:
    found = inspected(dataset, sparse).encoders[0]
    encoder = BiEncoder.load(str(sparse), precision="float32")
    made = encoder.encode_documents(toys.texts(), 40).sparse.toarray() > 0
    asked = encoder.encode_queries([query["text"] for query in toys.queries()]).sparse.toarray() > 0
    held = np.zeros(made.shape[1], bool)
    held[np.unique(np.concatenate([text.ids for text in toys.tokenizer().encode(toys.texts())]))] = True
    words = figures(found, "sparse")
    assert words["words a document"] == np.median(made.sum(axis=1)) <= 9
    assert words["words a query"] == np.median(asked.sum(axis=1)) > 9  # documents alone are pruned
    assert words["dead vocabulary"] == pytest.approx(1 - made.any(axis=0).mean())
    assert words["held, yet dead"] == pytest.approx(1 - made[:, held].any(axis=0).mean())
    assert words["always on"] == (made.mean(axis=0) >= 0.95).sum()
    name, share = found.frequent[0]
    most = made.mean(axis=0)
    assert share == most.max() and most[toys.tokenizer().core.token_to_id(name)] == share
    assert figures(found, "tokens")["vocabulary held"] == pytest.approx(held.mean())
    assert not figures(found, "head for masked words")


def test_the_head_of_a_bare_encoder_is_asked_for_its_words(dataset: Path, model: Path) -> None:
    found = inspected(dataset, model).encoders[0]
    module, tokens = AutoModelForMaskedLM.from_pretrained(model).eval(), toys.tokenizer()
    active = []
    for text in tokens.encode(toys.texts()):
        ids = torch.tensor([[tokens.id_of("first"), *text.ids.tolist(), tokens.id_of("last")]])
        with torch.no_grad():
            active.append((module(ids).logits[0, 1:-1].amax(dim=0) > 0).numpy())
    use = np.stack(active)
    words = figures(found, "head for masked words")
    assert words["words a document"] == pytest.approx(np.median(use.sum(axis=1)), abs=1)
    assert words["dead vocabulary"] == pytest.approx(1 - use.any(axis=0).mean(), abs=0.005)


def test_word_use_adds_up() -> None:
    active = np.random.default_rng(0).random((40, 12)) < np.linspace(0, 1, 12)
    use = TermActivations.of_nothing(12)
    for part in (active[:7], active[7:]):
        use = use.with_texts(part.sum(axis=0), part.sum(axis=1))
    assert use.dead == (~active.any(axis=0)).mean() > 0
    assert use.always == (active.mean(axis=0) >= 0.95).sum() > 0
    np.testing.assert_array_equal(use.active, active.sum(axis=1))
    assert use.unheard(np.arange(12) < 2) == 0.5  # of the first two the second was drawn
    assert TermActivations.of_nothing(3).always == 0 and use.unheard(np.zeros(12, bool)) == 0


def test_the_nearest_documents_of_a_text_come_with_what_matches(dataset: Path, sparse: Path) -> None:
    text = toys.texts()[9]
    (near,) = inspected(dataset, sparse, texts=(text,)).encoders[0].near
    encoder = BiEncoder.load(str(sparse), precision="float32")
    asked, made = encoder.encode_queries([text]), encoder.encode_documents(toys.texts(), 40)
    scores = encoder.similarity.score(asked, made)[0]
    ids = [str(document["_id"]) for document in toys.documents()]
    assert [found.id for found in near] == [ids[at] for at in np.argsort(-scores)[:5]]
    first = near[0]
    assert first.score == pytest.approx(scores.max(), rel=1e-5)
    at = ids.index(first.id)
    assert first.cosine == pytest.approx(float(asked.dense[0] @ made.dense[at]), rel=1e-4)
    products = (asked.sparse[0].multiply(made.sparse[at]) * 0.5).toarray()[0]
    assert [adds for _, adds in first.words] == pytest.approx(np.sort(products)[::-1][: len(first.words)].tolist())
    assert first.words[0][0] == toys.tokenizer().core.id_to_token(int(products.argmax()))


def test_labels_are_told_by_the_nearest_and_by_a_probe(dataset: Path, model: Path, tmp_path: Path) -> None:
    folder = toys.write_labelled(tmp_path / "set")
    labels = Labels.named(str(folder))
    report = inspected(dataset, model, model, labels=labels, neighbors=3, pooling="mean").labels
    assert report is not None
    names = [system.name for system in report.systems]
    assert names == [
        "commonest label",
        *(f"model{n}, {way}" for n in ("", " #2") for way in ("nearest", "linear probe")),
    ]
    data, encoder = LabelledSet.open(labels, "test"), BiEncoder.load(str(model), precision="float32")
    encoder.card = replace(encoder.card, heads=(Dense("mean", True),))
    rows = {
        split: encoder.encode_documents([example.text for example in part], len(part)).dense
        for split, part in data.parts.items()
    }
    train = np.concatenate(data.codes("train"))
    nearest_three = np.argsort(-(rows["test"] @ rows["train"].T), axis=1)[:, :3]
    guessed = [np.bincount(train[row]).argmax() for row in nearest_three]
    expected = accuracy_score(np.concatenate(data.codes("test")), guessed)
    assert report.means["model, nearest"]["accuracy"].mean == pytest.approx(expected)
    assert report.means["model, linear probe"]["accuracy"].mean > report.means["commonest label"]["accuracy"].mean
    assert "commonest label of the 3 nearest" in report.systems[1].note


def test_of_equally_common_labels_the_first_is_told() -> None:
    train = Rows(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), np.array([2, 1, 0, 0]), np.arange(4))
    asked = Rows(np.array([[5.0, 0.1], [0.2, 3.0], [np.nan, np.nan]]), np.zeros(3, np.int64), np.arange(3))
    assert nearest({"train": train}, 2).guess(asked).tolist() == [1, 0, -1]


def test_pairs_that_belong_together(tmp_path: Path) -> None:
    documents = [
        Document("a", "A long title", "a long title. The text.", "s", 1),
        Document("b", "Short", "Other.", "s", 0),
        Document("c", "", "Third.", "s", 2),
        Document("d", "", "Alone.", "t", 0),
        Document("e", "", "Free."),
    ]
    corpus = Corpus.of(documents, tmp_path / "corpus.arrow")
    judgments = [Judgment("q", "a", 1), Judgment("q", "b", 0), Judgment("q", "gone", 1), Judgment("x", "a", 1)]
    judged = positives(corpus, {"q": "asks"}, judgments, 10, 0)
    assert judged == ("queries and relevant documents", ["asks"], ["A long title a long title. The text."], True)
    assert positives(corpus, {}, [], 10, 0) == ("titles and their texts", ["A long title"], ["The text."], True)
    untitled = Corpus.of([document._replace(title="") for document in documents], tmp_path / "untitled.arrow")
    found = positives(untitled, {}, [], 10, 0)
    assert found is not None and found.kind == "neighbouring documents" and not found.asks
    pairs = sorted(zip(found.firsts, found.seconds, strict=True))
    assert pairs == [("Other.", "a long title. The text."), ("a long title. The text.", "Third.")]
    alone = Corpus.of([document._replace(source=None, title="") for document in documents], tmp_path / "alone.arrow")
    assert positives(alone, {}, [], 10, 0) is None
    assert len(positives(untitled, {}, [], 1, 0).firsts) == 1  # type: ignore[union-attr]


def test_a_sample_is_drawn_by_the_seed_from_what_has_text(dataset: Path, model: Path) -> None:
    with (dataset / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "void", "text": " "}\n')
    with pytest.warns(UserWarning, match="neither title nor text"):
        whole = inspected(dataset, model)
    assert (whole.documents, whole.of) == (40, 40)
    one, same, other = (inspected(dataset, model, sample=12, seed=seed) for seed in (1, 1, 2))
    assert (one.documents, one.of) == (12, 40) and "12 documents, drawn from 40" in one.title()
    assert one.encoders == same.encoders != other.encoders


def test_an_inspection_is_shown_and_kept(
    dataset: Path, model: Path, sparse: Path, tmp_path: Path, capsys: Said
) -> None:
    output, labels = tmp_path / "seen", toys.write_labelled(tmp_path / "set")
    with (labels / "test.jsonl").open("a", encoding="utf-8") as stream:  # of two labels: one is mistaken, surely
        stream.write("".join(f'{{"text": "a text", "label": "{label}"}}\n' for label in ("history", "repair")))
    words = ["inspect", "--corpus", dataset, "--model", f"{model},{sparse}", "--labels", labels, "--output", output]
    assert main([*map(str, words), "--queries", '["a broken violin, mended", harbour]']) == 0
    said = capsys.readouterr().out
    for part in (
        "40 documents, 40 with a title",
        "Encoders on 40 documents; 40 pairs of queries and relevant documents",
        "effective rank",
        "sparse, words that most documents have a weight for: ",
        "model, nearest",
        'Near to "a broken violin, mended"',
        'Near to "harbour"',
    ):
        assert part in said
    check_manifest(output, contents=True)
    kept = json.loads((output / "inspection.json").read_text())
    assert kept["corpus"]["documents"] == 40 and kept["corpus"]["lengths"][0]["unit"] == "words"
    encoders = kept["panel"]["encoders"]
    assert [encoder["name"] for encoder in encoders] == ["model", "sparse"]
    assert {"group", "name", "value", "shown", "range", "reading"} == set(encoders[0]["figures"][0])
    assert len(encoders[1]["near"]["harbour"]) == 5 and encoders[1]["near"]["harbour"][0]["words"]
    text = (output / "inspection.md").read_text()
    assert "| figure | model | sparse | range | how to read it |" in text and '## Near to "\u2068harbour\u2069"' in text
    assert (output / "report-test.json").is_file()
    page = tmp_path / "page"
    for more, shown in (((), True), (("--no-texts", "--overwrite"), False)):  # the recipe holds the texts, too
        assert main(["report", str(output), "--output", str(page), *more]) == 0
        told = (page / "report.md").read_text()
        assert ": 40 documents, 40 with a title\n" in told and "|   effective rank | " in told
        assert "| model, nearest | " in told and "seen: labels of set, test, " in told
        for words in ('**Near to "\u2068harbour\u2069", by sparse**', "| label | taken for | times | as in |"):
            assert (words in told) == shown
        for name in ("report.md", "report.html", "report.json"):
            assert ("a broken violin" in (page / name).read_text()) == shown
        assert ("words that most documents have a weight for" in told) == shown
        figures = json.loads((page / "report.json").read_text())["results"][0]
        assert figures["labels"][0]["split"] == "test" and "near" not in figures["figures"]["panel"]["encoders"][0]
    assert Inspection.load(output).panel.rows()[0][:3] == ["figure", "model", "sparse"]
    assert main(["rerun", str(output), "--output", str(tmp_path / "rerun")]) == 0
    assert (tmp_path / "again" / "inspection.json").read_bytes() == (output / "inspection.json").read_bytes()
    assert {"corpus", "model[0]", "model[1]", "labels"} == set(
        json.loads((output / "inputs.json").read_text())["inputs"]
    )


def test_without_a_sample_only_tokens_are_counted(
    dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    for name in ("encloze.commands._panel", "torch"):  # which alone would load a model
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["inspect", "--corpus", str(dataset), "--model", str(model), "--sample_size", "0"]) == 0
    said = capsys.readouterr().out
    assert "Tokens: " in said and "Encoders" not in said


def test_a_broken_model_is_refused(dataset: Path, model: Path, capsys: Said) -> None:
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("output.LayerNorm.weight"))
    save_file(weights | {name: weights[name] * torch.nan}, model / "model.safetensors", {"format": "pt"})
    for verb in (
        ["inspect", "--corpus", str(dataset), "--model"],
        ["evaluate", "--dataset", str(dataset), "--systems"],
    ):
        assert main([*verb, str(model)]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"{model} makes embeddings or term weights that are no numbers: its weights are broken" in said


def test_what_cannot_be_looked_at_is_refused(dataset: Path, model: Path, tmp_path: Path, capsys: Said) -> None:
    def refused(*words: object) -> str:
        assert main(["inspect", "--corpus", *map(str, words)]) == 2
        return capsys.readouterr().err

    few = tmp_path / "few.jsonl"
    few.write_text('{"_id": "a", "text": "one text"}\n', encoding="utf-8")
    assert "has 1 documents with text, and an encoder is looked at by how several lie" in refused(few, "--model", model)
    assert "sample_size must be 0 (none) or 2 or more, not 1" in refused(dataset, "--model", model, "--sample_size", 1)
    assert "neighbors must be 1 or more, not 0" in refused(dataset, "--neighbors", 0)
    assert "texts are shown to encoders: name one with model" in refused(dataset, "--queries", "a river")
    assert "one of the texts is empty" in refused(dataset, "--model", model, "--queries", "a river,,")
    nowhere = refused(dataset, "--model", model, "--labels", tmp_path / "nowhere")
    assert "is no folder of labelled texts (there is no such folder)" in nowhere
    labels = toys.write_labelled(tmp_path / "set")
    assert "labels are shown to encoders: name one" in refused(dataset, "--labels", labels)
    assert "split is train, which is learnt from" in refused(dataset, "--split", "train")
    many = refused(dataset, "--model", model, "--labels", labels, "--neighbors", 30)
    assert "train has 24 labels that can be learnt from, and the nearest 30 are asked. Lower --neighbors" in many
    assert f"{tmp_path / 'gone'}" in refused(dataset, "--model", f"{model},{tmp_path / 'gone'}")
