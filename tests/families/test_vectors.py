"""Formats of vectors: what is written is read again, exactly, and what does not fit is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from scipy.sparse import csr_matrix, random

import encloze
import toys
from encloze import Retriever
from encloze.data.records import Representation
from encloze.data.vectors.anserini import Anserini
from encloze.data.vectors.base import Layout, VectorFormat
from encloze.errors import CheckpointError, DataError, RecipeError

FORMATS = VectorFormat.members()
TOKENS = [f"token{n}" for n in range(50)]
NUMBERS = {token: number for number, token in enumerate(TOKENS)}


def some_vectors(kinds: tuple[str, ...], texts: int = 7) -> Representation:
    draw = np.random.default_rng(0)
    dense = draw.standard_normal((texts, 5)).astype(np.float32)
    sparse = random(texts, 50, 0.1, "csr", np.float32, random_state=draw)
    return Representation(dense if "dense" in kinds else None, sparse if "sparse" in kinds else None)


def write(format_: VectorFormat, folder: Path, vectors: Representation, ids: list[str]) -> Path:
    folder.mkdir()
    dims = {k: m.shape[1] for k, m in zip(("dense", "sparse"), vectors, strict=True) if m is not None}
    writer = format_.writer(folder, Layout(len(ids), dims, lambda terms: [TOKENS[term] for term in terms]))
    for rows in (slice(0, 3), slice(3, len(ids))):
        writer.add(ids[rows], Representation(*(None if view is None else view[rows] for view in vectors)))
    writer.finish()
    return folder


def combinations() -> list[tuple[str, tuple[str, ...]]]:
    members = {name: VectorFormat.member(name) for name in FORMATS}
    single = [(name, (kind,)) for name, member in members.items() for kind in member.kinds]
    return single + [(name, member.kinds) for name, member in members.items() if member.holds_both]


@pytest.mark.parametrize(("name", "kinds"), combinations())
def test_what_is_written_is_read_again(name: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    vectors, ids = some_vectors(kinds), ["a", "b c", "1", "ü", "e", "שלום", "g"]
    format_ = Anserini(scale=2.0**20) if name == "anserini" else VectorFormat.member(name)()
    folder = write(format_, tmp_path / "out", vectors, ids)
    member, file = VectorFormat.recognize(folder)
    assert VectorFormat.recognize(file)[0].file.endswith(file.suffix)
    parts = list(member.read(file, NUMBERS, 50))
    assert [id_ for part in parts for id_ in part.ids or []] == ids
    read = Representation.concatenate([part.vectors for part in parts])
    if "dense" in kinds:
        np.testing.assert_array_equal(read.dense, vectors.dense)
    if "sparse" in kinds:
        factor = 2.0**-20 if name == "anserini" else 1
        assert (read.sparse.sorted_indices().indices == vectors.sparse.sorted_indices().indices).all()
        np.testing.assert_allclose(
            (read.sparse * factor).toarray(), vectors.sparse.toarray(), atol=2.0**-20 if factor < 1 else 0
        )


def test_impacts_are_integers_and_rounded_ones_of_0_are_left_out(tmp_path: Path) -> None:
    weights = csr_matrix(np.array([[0.004, 1.236, 0, 2]] * 3 + [[0.0] * 4], np.float32))
    folder = write(Anserini(), tmp_path / "out", Representation(sparse=weights), ["1", "2", "3", "4"])
    rows = [json.loads(line) for line in (folder / "vectors.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {"id": "1", "contents": "", "vector": {"token1": 124, "token3": 200}}
    assert rows[3]["vector"] == {}
    with pytest.raises(DataError, match="negative term weights"):
        write(Anserini(), tmp_path / "other", Representation(sparse=-weights), ["1", "2", "3", "4"])


WRONG: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no array": ("x.npy", lambda f: f.write_bytes(b"no array"), "no array that can be read"),
    "a pickle": ("x.npy", lambda f: np.save(f, np.array([{}], object)), "no array that can be read"),
    "one axis": ("x.npy", lambda f: np.save(f, np.ones(3, np.float32)), "found float32 of"),
    "integers": ("x.npy", lambda f: np.save(f, np.ones((3, 2), np.int32)), "found int32"),
    "half a row": ("x.fvecs", lambda f: f.write_bytes(np.array([2, 0, 0, 2], "<i4").tobytes()), "16 bytes is no"),
    "another dimension": ("x.fvecs", lambda f: f.write_bytes(np.array([1, 0, 2, 0], "<i4").tobytes()), "row 1 has 2"),
    "an empty file": ("x.fvecs", lambda f: f.write_bytes(b""), "0 bytes"),
    "no parquet": ("x.parquet", lambda f: f.write_bytes(b"PAR1"), "cannot be read"),
    "no vectors": ("x.parquet", lambda f: pa.parquet.write_table(pa.table({"id": ["1"]}), f), "expected dense"),
    "no numbers": ("x.parquet", lambda f: pa.parquet.write_table(pa.table({"dense": ["1"]}), f), "not lists"),
    "no JSON": ("x.jsonl", lambda f: f.write_bytes(b'{"id": 1, "vector": [1]}\nno\n'), r"x\.jsonl:2: expected a JSON"),
    "no vector": ("x.jsonl", lambda f: f.write_bytes(b'{"id": 1}\n'), "with id and vector"),
    "two lengths": (
        "x.jsonl",
        lambda f: f.write_bytes(b'{"id":1,"vector":[1]}\n{"id":2,"vector":[1,2]}\n'),
        "same length",
    ),
    "an unknown token": ("x.jsonl", lambda f: f.write_bytes(b'{"id":1,"vector":{"no":1}}\n'), "no token 'no'"),
    "terms, but none are known": (
        "y.jsonl",
        lambda f: f.write_bytes(b'{"id":1,"vector":{"a":1}}\n'),
        "only embeddings",
    ),
    "no weight": ("x.jsonl", lambda f: f.write_bytes(b'{"id":1,"vector":{"token1":"much"}}\n'), "not numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_file_is_refused(case: str, tmp_path: Path) -> None:
    name, make, message = WRONG[case]
    make(tmp_path / name)
    member, file = VectorFormat.recognize(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        list(member.read(file, {} if name == "y.jsonl" else NUMBERS, 50))
    assert name in str(caught.value)


@pytest.mark.parametrize("path", ["x.txt", "missing.npy", "."])
def test_an_unknown_file_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match=r"suffixes|there is no such|contains none of"):
        VectorFormat.recognize(tmp_path / path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that computes embeddings and term weights."""
    return toys.write_model(tmp_path_factory.mktemp("models") / "model", views=("dense", "sparse"))


@pytest.mark.parametrize("settings", [{}, {"format": "npy"}, {"format": "seismic"}], ids=str)
def test_an_index_of_encoded_documents_is_that_of_the_documents(
    model: Path, dataset: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    result = encloze.encode(model, dataset, output=tmp_path / "vectors", precision="float32", **settings)
    indexes = [{"dense": "flat", "sparse": "inverted"}[kind] for kind in result.dims]
    arguments: dict[str, Any] = {"model": model, "indexes": indexes, "precision": "float32"}
    encloze.index(dataset, output=tmp_path / "given", vectors=tmp_path / "vectors", **arguments)
    encloze.index(dataset, output=tmp_path / "computed", **arguments)
    given, computed = (Retriever.load(tmp_path / name, precision="float32") for name in ("given", "computed"))
    query = toys.queries()[0]["text"]
    assert given.search(query, 5) == computed.search(query, 5)
    assert result.count == len(given)


def test_queries_are_encoded_as_queries(model: Path, dataset: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"precision": "float32", "format": "npy", "output": tmp_path / "vectors"}
    result = encloze.encode(model, dataset=dataset, split="test", **arguments)
    ids = (tmp_path / "vectors" / "ids.txt").read_text(encoding="utf-8").split()
    texts = {str(query["_id"]): query["text"] for query in toys.queries()}
    expected = encloze.Encoder.from_pretrained(model, precision="float32").encode_queries([texts[id_] for id_ in ids])
    np.testing.assert_array_equal(np.load(result.file), expected.dense)


def test_what_a_format_cannot_contain_is_refused(model: Path, dataset: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"output": tmp_path / "out"}
    with pytest.raises(RecipeError, match="kind: .* computes both, and anserini contains one: give dense or sparse"):
        encloze.encode(model, dataset, format="anserini", **arguments)
    with pytest.raises(RecipeError, match="format: npy is written with sparse vectors"):
        encloze.encode(model, dataset, format="npy", kind="sparse", **arguments)
    with pytest.raises(RecipeError, match="give either a corpus"):
        encloze.encode(model, dataset, dataset=dataset, **arguments)
    assert not (tmp_path / "out").exists()


def test_vectors_of_other_documents_are_refused(model: Path, dataset: Path, tmp_path: Path) -> None:
    encloze.encode(model, dataset, output=tmp_path / "v", format="npy")
    array, ids_file = np.load(tmp_path / "v" / "dense.npy"), tmp_path / "v" / "ids.txt"
    ids = ids_file.read_text(encoding="utf-8").splitlines()

    other = toys.write_model(tmp_path / "other", views=("dense",))
    arguments: dict[str, Any] = {"vectors": tmp_path / "v", "indexes": ["flat"], "output": tmp_path / "index"}
    with pytest.raises(DataError, match=f"was computed by .*, and the model is {other}"):
        encloze.index(dataset, model=other, **arguments)
    ids_file.unlink()
    with pytest.raises(CheckpointError, match=r"ids\.txt"):
        encloze.index(dataset, model=model, **arguments)

    def refused(message: str, vectors: np.ndarray, names: list[str] | None, indexes: list[str]) -> None:
        folder = tmp_path / "changed"
        folder.mkdir(exist_ok=True)
        np.save(folder / "dense.npy", vectors)
        (folder / "ids.txt").unlink(missing_ok=True)
        if names:
            (folder / "ids.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        with pytest.raises(DataError, match=message):
            encloze.index(dataset, model=model, vectors=folder, indexes=indexes, output=tmp_path / "index")
        assert not (tmp_path / "index").exists()

    refused("row 0 is of the document", array, ids[::-1], ["flat"])
    refused("ids, and dense.npy", array, ids[1:], ["flat"])
    refused(rf"has {len(ids) - 1} vectors, and the collection {len(ids)} documents", array[1:], None, ["flat"])
    refused("more vectors than", np.concatenate([array, array]), None, ["flat"])
    refused("the vectors have 3 dimensions", array[:, :3], ids, ["flat"])
    refused("is not finite", np.where(np.arange(len(ids))[:, None] == 2, np.nan, array), ids, ["flat"])
    refused("has no term weights", array, ids, ["flat", "inverted"])
    with pytest.raises(RecipeError, match="vectors needs the model"):
        encloze.index(dataset, vectors=tmp_path / "v", indexes=["bm25"], output=tmp_path / "index")
