"""Public encoders: loading, encoding, similarity, saving, uploading."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import toys
from encloze import Corpus, Document, Encoder, Query, Representation
from encloze.errors import CheckpointError, EndpointError, RecipeError, StorageError

TEXTS = ["a river", "the engine history", "violin repair"]


@pytest.fixture
def encoder(model: Path) -> Encoder:
    return Encoder.from_pretrained(model, device="cpu", precision="float32")


def test_a_dense_encoder_returns_arrays(encoder: Encoder) -> None:
    queries, documents = encoder.encode_queries(TEXTS), encoder.encode_documents(TEXTS)
    assert isinstance(queries, np.ndarray) and queries.shape == documents.shape == (3, encoder.dim)
    assert queries.dtype == np.float32
    scores = encoder.similarity(queries, documents)
    assert scores.shape == (3, 3)
    np.testing.assert_allclose(scores, queries @ documents.T, atol=1e-5)


def test_one_text_is_one_vector(encoder: Encoder) -> None:
    np.testing.assert_allclose(encoder.encode_queries(TEXTS[0]), encoder.encode_queries(TEXTS)[0], atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS[0]), encoder.encode_documents(TEXTS)[0], atol=1e-5)


def test_documents_may_be_texts_dictionaries_records_or_a_corpus(encoder: Encoder) -> None:
    expected = encoder.encode_documents(["Rivers flow", "engine"])
    for documents in (
        [{"title": "Rivers", "text": "flow"}, {"text": "engine"}],
        [Document("1", "Rivers", "flow"), Document("2", "", "engine")],
        Corpus.from_dicts([{"title": "Rivers", "text": "flow"}, {"text": "engine"}]),
    ):
        np.testing.assert_allclose(encoder.encode_documents(documents), expected, atol=1e-5)


def test_no_texts_are_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode_queries([]).shape == encoder.encode_documents([]).shape == (0, encoder.dim)


def test_encoders_with_a_sparse_view(tmp_path: Path) -> None:
    sparse = Encoder.from_pretrained(toys.write_model(tmp_path / "sparse", views=("sparse",)), device="cpu")
    found = sparse.encode_queries(TEXTS)
    assert scipy.sparse.issparse(found) and found.shape[0] == 3 and sparse.dim is None
    both = Encoder.from_pretrained(toys.write_model(tmp_path / "both", views=("dense", "sparse")), device="cpu")
    views = both.encode_documents(TEXTS)
    assert isinstance(views, Representation) and views.dense.shape[0] == views.sparse.shape[0] == 3
    assert both.similarity(both.encode_queries(TEXTS), views).shape == (3, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.encode_queries([1]), r"queries\[0\]: expected a string, found int 1"),
        (lambda e: e.encode_queries(3), "queries: expected a list of strings, found int 3"),
        (lambda e: e.encode_queries(b"x"), "queries: expected a list of strings, found bytes"),
        (lambda e: e.encode_queries(Query("q", "x")), "queries: expected a list of strings, found Query"),
        (lambda e: e.encode_queries({"q": "x"}), "queries: expected a list of strings, found dict"),
        (lambda e: e.encode_queries({"x"}), "queries: expected a list of strings, found set"),
        (lambda e: e.encode_queries(np.array("x")), "queries: expected a list of strings, found ndarray"),
        (lambda e: e.encode_queries(pd.DataFrame({"text": ["x"]})), "queries: expected a list of strings, .*DataFrame"),
        (lambda e: e.encode_queries(["\ud800"]), r"queries\[0\]: invalid text: unpaired surrogate"),
        (lambda e: e.encode_documents(Document("d", "", "x")), "documents: expected a list of texts or of documents"),
        (lambda e: e.score(["ab"]), r"pairs\[0\]: expected a query and a document"),
        (lambda e: e.score([("a", 1)]), r"pairs\[0\]: expected a query and a document"),
        (lambda e: e.score(None), "pairs: expected a list of pairs of texts, found NoneType"),
        (lambda e: e.save_pretrained(None), "folder: expected a path, found None"),
        (lambda e: e.save_pretrained("a\0b"), "folder: expected a path"),
        (lambda e: e.push_to_hub(None), "repo_id: expected a name"),
        (lambda e: e.encode_documents([{"title": "x"}]), r"documents\[0\]: expected a string, found dict"),
        (lambda e: e.encode_documents({"text": "x"}), "documents: expected a list of texts or of documents"),
        (lambda e: Encoder.from_pretrained(3), "name: expected a model folder, a hub id or minilm, found 3"),
        (
            lambda e: Encoder.from_pretrained(e.name, precision="float8"),
            "precision: expected auto, float32 or bfloat16",
        ),
        (lambda e: Encoder.from_pretrained(e.name, backend="onyx"), "backend: unknown encoder backend 'onyx'"),
        (lambda e: Encoder.from_pretrained(e.name, device="gpu"), "gpu"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[Encoder], Any], message: str, encoder: Encoder) -> None:
    with pytest.raises(RecipeError, match=message):
        call(encoder)


@pytest.mark.parametrize("name", ["nowhere", "x" * 5000])
def test_a_missing_model_is_named(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"'{name}' is no"):
        Encoder.from_pretrained(name)


def test_a_data_frame_of_documents_is_encoded(encoder: Encoder) -> None:
    table = pd.DataFrame({"title": ["T", None], "text": ["a river", "the sea"]})
    expected = encoder.encode_documents([{"title": "T", "text": "a river"}, "the sea"])
    np.testing.assert_allclose(encoder.encode_documents(table), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(table.to_dict("records")), expected, atol=1e-5)


def test_an_encoder_from_a_relative_path_survives_a_change_of_the_working_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    encoder = Encoder.from_pretrained(model.name, device="cpu")
    monkeypatch.chdir(tmp_path)
    assert encoder.name == str(model) and Encoder.from_pretrained(encoder.name).fingerprint == encoder.fingerprint


def test_a_saved_encoder_gives_the_same_vectors(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path / "saved")
    saved = Encoder.from_pretrained(str(tmp_path / "saved"), device="cpu", precision="float32")
    np.testing.assert_allclose(saved.encode_queries(TEXTS), encoder.encode_queries(TEXTS), atol=1e-6)
    with pytest.raises(StorageError, match="exists already"):
        encoder.save_pretrained(tmp_path / "saved")
    encoder.save_pretrained(tmp_path / "saved", overwrite=True)
    card = (tmp_path / "saved" / "README.md").read_text("utf-8")
    assert 'Encoder.from_pretrained("saved")' in card and "pipeline_tag: sentence-similarity" in card
    (tmp_path / "saved" / "README.md").write_text(f"{card}\nTrained on rivers.\n", "utf-8")
    Encoder.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_text("utf-8").endswith("Trained on rivers.\n")


class FakeHub(http.server.BaseHTTPRequestHandler):
    """The parts of the hub's HTTP API that an upload uses; ``received`` keeps what was sent."""

    received: dict[str, Any] = {}  # noqa: RUF012 - replaced by each test

    @property
    def address(self) -> str:
        return f"http://{self.headers['Host']}"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.received["authorization"] = self.headers.get("Authorization")
        if self.path == "/api/repos/create":
            self.received["created"] = json.loads(body)
            self.answer({"url": f"{self.address}/me/retriever"})
        elif self.path == "/api/validate-yaml":  # of the model card's header
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            self.received["files"] = {line["value"]["path"] for line in lines if line["key"] == "file"}
            self.received["summary"] = lines[0]["value"]["summary"]
            self.answer({"commitOid": "c0ffee", "commitUrl": f"{self.address}/me/retriever/commit/c0ffee"})
        else:
            self.answer({"error": self.path}, 404)

    def do_GET(self) -> None:
        self.answer({"id": "me/retriever", "sha": "c0ffee", "siblings": [], "private": False, "tags": []})

    def answer(self, value: dict[str, Any], code: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(self.received.get("code", code))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a fake hub."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    FakeHub.received = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_encoder_is_uploaded_as_a_model_folder(encoder: Encoder, hub: str) -> None:
    url = encoder.push_to_hub("me/retriever", token="hf_secret", private=True, endpoint=hub)
    assert url == f"{hub}/me/retriever/commit/c0ffee"
    received = FakeHub.received
    assert received["created"]["name"] == "retriever" and "private" in str(received["created"])
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "encloze.json"} <= received["files"]
    assert received["authorization"] == "Bearer hf_secret"
    assert received["summary"] == "Upload an encoder trained with encloze"


def test_a_hub_that_refuses_is_named(encoder: Encoder, hub: str) -> None:
    FakeHub.received["code"] = 403
    with pytest.raises(EndpointError, match=rf"me/retriever could not be uploaded to {hub}: .*403.*Check the name"):
        encoder.push_to_hub("me/retriever", token="hf_secret", endpoint=hub)
