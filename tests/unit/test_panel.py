"""A panel of encoders has metrics of their representations, label predictions and nearest documents."""

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
from encloze.data.labeled import LabeledDataset
from encloze.data.labels.base import LabelFormat
from encloze.data.positive_pairs import sample_positive_pairs
from encloze.data.records import Document, Judgment
from encloze.evaluation.geometry import alignment, effective_rank, mean_cosine, pair_auc
from encloze.evaluation.inspection import Inspection
from encloze.evaluation.panel import EncoderMetrics, Panel
from encloze.evaluation.term_activations import TermActivations
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.storage.manifest import check_manifest
from encloze.training.linear_probe import LabeledFeatures, nearest_neighbors

Output = pytest.CaptureFixture[str]


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """Return the folder of a model with a dense and a sparse view."""
    folder = toys.write_model(tmp_path / "sparse")
    EncoderConfig((Dense("mean", True), Sparse(document_top_k=9, weight=0.5)), "", "", 32, 64).write(folder)
    return folder


def inspect(dataset: Path, *models: Path, **settings: Any) -> Panel:
    inspection = Inspect(Format.from_name(str(dataset)), tuple(map(str, models)), precision="float32", **settings).run()
    assert inspection.panel is not None
    return inspection.panel


def metrics(encoder: EncoderMetrics, group: str) -> dict[str, float]:
    return {metric.name: metric.value for metric in encoder.metrics if metric.group == group}


def test_dense_metrics_are_those_of_the_embeddings_of_the_model(dataset: Path, model: Path, sparse: Path) -> None:
    bare, both = inspect(dataset, model, sparse).encoders
    for found, folder in ((bare, model), (both, sparse)):
        encoder = BiEncoder.load(str(folder), precision="float32")
        rows = encoder.encode_documents(toys.texts(), 40).dense
        dense = metrics(found, "dense")
        assert dense["mean cosine"] == pytest.approx(mean_cosine(rows), abs=1e-5)
        assert dense["effective rank"] == pytest.approx(effective_rank(rows), rel=1e-4)
        queries = encoder.encode_queries([query["text"] for query in toys.queries()]).dense
        assert dense["alignment"] == pytest.approx(alignment(queries, rows), rel=1e-4)
        assert dense["pair AUC"] == pytest.approx(pair_auc(queries, rows, ~np.eye(40, dtype=bool)), abs=0.002)
        assert ("norm variation" in dense) == (found is bare)  # the other model normalizes its embeddings
    description = "embeddings: cls pooling, 32 dimensions, not normalized; documents truncated at 64 tokens"
    assert bare.description == f"bert, hidden size 32; {description}"
    assert "mean pooling, 32 dimensions, L2-normalized; sparse view: sparse" in both.description
    pooled = inspect(dataset, model, pooling="mean").encoders[0]
    assert "embeddings: mean" in pooled.description and pooled.metrics[0].value != bare.metrics[0].value


def test_sparse_metrics_count_the_active_terms(dataset: Path, sparse: Path) -> None:
    found = inspect(dataset, sparse).encoders[0]
    encoder = BiEncoder.load(str(sparse), precision="float32")
    made = encoder.encode_documents(toys.texts(), 40).sparse.toarray() > 0
    queries = encoder.encode_queries([query["text"] for query in toys.queries()]).sparse.toarray() > 0
    is_in_corpus = np.zeros(made.shape[1], bool)
    is_in_corpus[np.unique(np.concatenate([text.ids for text in toys.tokenizer().encode(toys.texts())]))] = True
    sparse_metrics = metrics(found, "sparse")
    assert sparse_metrics["active dimensions per document"] == np.median(made.sum(axis=1)) <= 9
    assert sparse_metrics["active dimensions per query"] == np.median(queries.sum(axis=1)) > 9  # not pruned
    assert sparse_metrics["terms never activated"] == pytest.approx(1 - made.any(axis=0).mean())
    dead = 1 - made[:, is_in_corpus].any(axis=0).mean()
    assert sparse_metrics["in-corpus terms never activated"] == pytest.approx(dead)
    frequent = (made.mean(axis=0) >= 0.95).sum()
    assert sparse_metrics["terms with document frequency of 95 % and more"] == frequent
    name, share = found.frequent_terms[0]
    most = made.mean(axis=0)
    assert share == most.max() and most[toys.tokenizer().backend.token_to_id(name)] == share
    assert metrics(found, "tokenizer")["vocabulary coverage"] == pytest.approx(is_in_corpus.mean())
    assert not metrics(found, "MLM head")


def test_an_encoder_without_a_sparse_view_has_metrics_of_its_mlm_head(dataset: Path, model: Path) -> None:
    found = inspect(dataset, model).encoders[0]
    module, tokens = AutoModelForMaskedLM.from_pretrained(model).eval(), toys.tokenizer()
    active = []
    for text in tokens.encode(toys.texts()):
        ids = torch.tensor([[tokens.special_id("cls"), *text.ids.tolist(), tokens.special_id("sep")]])
        with torch.no_grad():
            active.append((module(ids).logits[0, 1:-1].amax(dim=0) > 0).numpy())
    is_active, head = np.stack(active), metrics(found, "MLM head")
    assert head["active dimensions per document"] == pytest.approx(np.median(is_active.sum(axis=1)), abs=1)
    assert head["terms never activated"] == pytest.approx(1 - is_active.any(axis=0).mean(), abs=0.005)


def test_term_activations_are_added() -> None:
    is_active = np.random.default_rng(0).random((40, 12)) < np.linspace(0, 1, 12)
    activations = TermActivations.empty(12)
    for part in (is_active[:7], is_active[7:]):
        activations = activations.add(part.sum(axis=0), part.sum(axis=1))
    assert activations.dead_ratio == (~is_active.any(axis=0)).mean() > 0
    assert activations.num_frequent_terms == (is_active.mean(axis=0) >= 0.95).sum() > 0
    np.testing.assert_array_equal(activations.active_dims, is_active.sum(axis=1))
    assert activations.dead_ratio_in_corpus(np.arange(12) < 2) == 0.5  # the first term is never active
    assert TermActivations.empty(3).num_frequent_terms == 0
    assert activations.dead_ratio_in_corpus(np.zeros(12, bool)) == 0


def test_nearest_documents_have_scores_cosines_and_matching_terms(dataset: Path, sparse: Path) -> None:
    text = toys.texts()[9]
    (nearest,) = inspect(dataset, sparse, queries=(text,)).encoders[0].nearest
    encoder = BiEncoder.load(str(sparse), precision="float32")
    queries, made = encoder.encode_queries([text]), encoder.encode_documents(toys.texts(), 40)
    scores = encoder.similarity.score(queries, made)[0]
    ids = [str(document["_id"]) for document in toys.documents()]
    assert [found.id for found in nearest] == [ids[at] for at in np.argsort(-scores)[:5]]
    first = nearest[0]
    assert first.score == pytest.approx(scores.max(), rel=1e-5)
    at = ids.index(first.id)
    assert first.cosine == pytest.approx(float(queries.dense[0] @ made.dense[at]), rel=1e-4)
    products = (queries.sparse[0].multiply(made.sparse[at]) * 0.5).toarray()[0]
    assert [score for _, score in first.terms] == pytest.approx(np.sort(products)[::-1][: len(first.terms)].tolist())
    assert first.terms[0][0] == toys.tokenizer().backend.id_to_token(int(products.argmax()))


def test_labels_are_predicted_by_nearest_neighbors_and_a_linear_probe(
    dataset: Path, model: Path, tmp_path: Path
) -> None:
    folder = toys.write_labelled(tmp_path / "set")
    labels = LabelFormat.from_name(str(folder))
    report = inspect(dataset, model, model, labels=labels, neighbors=3, pooling="mean").labels
    assert report is not None
    names = [system.name for system in report.systems]
    assert names == [
        "majority label",
        *(f"model{n}, {kind}" for n in ("", " #2") for kind in ("nearest", "linear probe")),
    ]
    data, encoder = LabeledDataset.load(labels, "test"), BiEncoder.load(str(model), precision="float32")
    encoder.config = replace(encoder.config, heads=(Dense("mean", True),))
    rows = {
        split: encoder.encode_documents([example.text for example in part], len(part)).dense
        for split, part in data.splits.items()
    }
    train = np.concatenate(data.label_ids("train"))
    nearest_three = np.argsort(-(rows["test"] @ rows["train"].T), axis=1)[:, :3]
    predicted = [np.bincount(train[row]).argmax() for row in nearest_three]
    expected = accuracy_score(np.concatenate(data.label_ids("test")), predicted)
    assert report.means["model, nearest"]["accuracy"].mean == pytest.approx(expected)
    assert report.means["model, linear probe"]["accuracy"].mean > report.means["majority label"]["accuracy"].mean
    assert "majority vote of the 3 nearest" in report.systems[1].note


def test_ties_between_labels_are_broken_by_name() -> None:
    train = LabeledFeatures(
        np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), np.array([2, 1, 0, 0]), np.arange(4)
    )
    queries = LabeledFeatures(np.array([[5.0, 0.1], [0.2, 3.0], [np.nan, np.nan]]), np.zeros(3, np.int64), np.arange(3))
    assert nearest_neighbors({"train": train}, 2).predict(queries).tolist() == [1, 0, -1]


def test_positive_pairs_are_judged_then_titles_then_neighbors(tmp_path: Path) -> None:
    documents = [
        Document("a", "A long title", "a long title. The text.", "s", 1),
        Document("b", "Short", "Other.", "s", 0),
        Document("c", "", "Third.", "s", 2),
        Document("d", "", "Alone.", "t", 0),
        Document("e", "", "Free."),
    ]
    corpus = Corpus.from_documents(documents, tmp_path / "corpus.arrow")
    judgments = [Judgment("q", "a", 1), Judgment("q", "b", 0), Judgment("q", "gone", 1), Judgment("x", "a", 1)]
    judged = sample_positive_pairs(corpus, {"q": "asks"}, judgments, 10, 0)
    assert judged == ("queries and relevant documents", ["asks"], ["A long title a long title. The text."], True)
    assert sample_positive_pairs(corpus, {}, [], 10, 0) == (
        "titles and their texts",
        ["A long title"],
        ["The text."],
        True,
    )
    untitled = Corpus.from_documents(
        [document._replace(title="") for document in documents], tmp_path / "untitled.arrow"
    )
    found = sample_positive_pairs(untitled, {}, [], 10, 0)
    assert found is not None and found.kind == "neighboring documents" and not found.first_is_query
    pairs = sorted(zip(found.first_texts, found.second_texts, strict=True))
    assert pairs == [("Other.", "a long title. The text."), ("a long title. The text.", "Third.")]
    alone = Corpus.from_documents(
        [document._replace(source=None, title="") for document in documents], tmp_path / "alone.arrow"
    )
    assert sample_positive_pairs(alone, {}, [], 10, 0) is None
    assert len(sample_positive_pairs(untitled, {}, [], 1, 0).first_texts) == 1  # type: ignore[union-attr]


def test_the_sample_depends_on_the_seed_and_excludes_empty_documents(dataset: Path, model: Path) -> None:
    with (dataset / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "void", "text": " "}\n')
    with pytest.warns(UserWarning, match="neither a title nor a text"):
        whole = inspect(dataset, model)
    assert (whole.num_documents, whole.num_available) == (40, 40)
    one, same, other = (inspect(dataset, model, sample_size=12, seed=seed) for seed in (1, 1, 2))
    assert (one.num_documents, one.num_available) == (12, 40)
    assert "12 documents, sampled from 40" in one.title
    assert one.encoders == same.encoders != other.encoders


def test_an_inspection_is_printed_saved_reported_and_rerun(
    dataset: Path, model: Path, sparse: Path, tmp_path: Path, capsys: Output
) -> None:
    output, labels = tmp_path / "seen", toys.write_labelled(tmp_path / "set")
    with (labels / "test.jsonl").open("a", encoding="utf-8") as stream:  # one of the two is predicted wrongly
        stream.write("".join(f'{{"text": "a text", "label": "{label}"}}\n' for label in ("history", "repair")))
    words = ["inspect", "--corpus", dataset, "--model", f"{model},{sparse}", "--labels", labels, "--output", output]
    assert main([*map(str, words), "--queries", '["a broken violin, mended", harbour]']) == 0
    text_out = capsys.readouterr().out
    for part in (
        "Encoders on 40 documents; 40 pairs of queries and relevant documents",
        "effective rank",
        "sparse, terms active in most documents: ",
        "model, nearest",
        'Nearest documents to "a broken violin, mended"',
        'Nearest documents to "harbour"',
    ):
        assert part in text_out
    check_manifest(output, contents=True)
    saved = json.loads((output / "inspection.json").read_text())
    assert saved["corpus"]["documents"] == 40 and saved["corpus"]["lengths"][0]["unit"] == "words"
    encoders = saved["panel"]["encoders"]
    assert [encoder["name"] for encoder in encoders] == ["model", "sparse"]
    assert {"group", "name", "value", "range", "interpretation"} < set(encoders[0]["metrics"][0])
    assert len(encoders[1]["nearest"]["harbour"]) == 5 and encoders[1]["nearest"]["harbour"][0]["terms"]
    text = (output / "inspection.md").read_text()
    assert "| group | metric | model | sparse | range | meaning |" in text
    assert '## Nearest documents to "\u2068harbour\u2069"' in text
    assert (output / "report-test.json").is_file()
    page = tmp_path / "page"
    for options, has_texts in (((), True), (("--no-include_texts", "--overwrite"), False)):
        assert main(["report", str(output), "--output", str(page), *options]) == 0
        report = (page / "report.md").read_text()
        assert "| documents | 40 |" in report and "| effective rank | " in report
        assert "| model, nearest | " in report and "seen: labels of set, test, " in report
        assert ('Nearest documents to "\u2068harbour\u2069"' in report) == has_texts
        for name in ("report.md", "report.html", "report.json"):
            assert ("a broken violin" in (page / name).read_text()) == has_texts
        assert ("terms active in most documents" in report) == has_texts
        result = json.loads((page / "report.json").read_text())["results"][0]
        assert result["labels"][0]["split"] == "test" and "nearest" not in result["figures"]["panel"]["encoders"][0]
    assert Inspection.load(output).panel.table().names[:4] == ("group", "metric", "model", "sparse")
    assert main(["rerun", str(output), "--output", str(tmp_path / "rerun")]) == 0
    assert (tmp_path / "rerun" / "inspection.json").read_bytes() == (output / "inspection.json").read_bytes()
    assert {"corpus", "model[0]", "model[1]", "labels"} == set(
        json.loads((output / "inputs.json").read_text())["inputs"]
    )


def test_sample_size_0_counts_tokens_without_loading_a_model(
    dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    for name in ("encloze.commands._panel", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["inspect", "--corpus", str(dataset), "--model", str(model), "--sample_size", "0"]) == 0
    text_out = capsys.readouterr().out
    assert "maximum tokens" in text_out and "Encoders" not in text_out


def test_a_model_with_weights_that_are_not_numbers_raises(dataset: Path, model: Path, capsys: Output) -> None:
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.endswith("output.LayerNorm.weight"))
    save_file(weights | {name: weights[name] * torch.nan}, model / "model.safetensors", {"format": "pt"})
    for verb in (
        ["inspect", "--corpus", str(dataset), "--model"],
        ["evaluate", "--dataset", str(dataset), "--systems"],
    ):
        assert main([*verb, str(model)]) == 2
        text_out = " ".join(capsys.readouterr().err.split())
        assert f"{model} produces NaN or infinite values: its weights are damaged" in text_out


def test_invalid_settings_raise(dataset: Path, model: Path, tmp_path: Path, capsys: Output) -> None:
    def error_of(*words: object) -> str:
        assert main(["inspect", "--corpus", *map(str, words)]) == 2
        return capsys.readouterr().err

    few = tmp_path / "few.jsonl"
    few.write_text('{"_id": "a", "text": "one text"}\n', encoding="utf-8")
    assert "has 1 documents with text, but inspecting encoders needs at least two" in error_of(few, "--model", model)
    assert "sample_size must be 0 or at least 2, not 1" in error_of(dataset, "--model", model, "--sample_size", 1)
    assert "neighbors must be 1 or more, not 0" in error_of(dataset, "--neighbors", 0)
    assert "queries needs an encoder. Set model" in error_of(dataset, "--queries", "a river")
    assert "one of the queries is empty" in error_of(dataset, "--model", model, "--queries", "a river,,")
    nowhere = error_of(dataset, "--model", model, "--labels", tmp_path / "nowhere")
    assert "is not a folder of labeled texts" in nowhere
    labels = toys.write_labelled(tmp_path / "set")
    assert "labels needs an encoder" in error_of(dataset, "--labels", labels)
    assert "split cannot be train" in error_of(dataset, "--split", "train")
    many = error_of(dataset, "--model", model, "--labels", labels, "--neighbors", 30)
    assert "train has 24 usable labels, fewer than the 30 neighbors. Lower --neighbors" in many
    assert f"{tmp_path / 'gone'}" in error_of(dataset, "--model", f"{model},{tmp_path / 'gone'}")


def test_documents_that_are_much_shorter_than_the_others_are_named(tmp_path: Path) -> None:
    texts = [f"document {number} " + "word " * 60 for number in range(9)] + ["A title line"]
    rows = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    inspection = Inspect(Format.from_name(str(tmp_path / "a.jsonl"))).run()
    assert inspection.stubs == ["d9"]
    (note,) = [note for note in inspection.notes if "median" in note]
    assert note.startswith("1 documents have less than a tenth of the median number of words: d9. BM25 ranks them high")
