"""Indexes whose checksums are right, but whose arrays, documents and names would make a search fail or crash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from test_integrity import TwoViews

import encloze.retrieval.opening as searching
import toys
from encloze.data.corpus import Corpus
from encloze.data.records import Document
from encloze.errors import CheckpointError, DataError, EnclozeError
from encloze.retrieval.index_building import build_index
from encloze.retrieval.retriever import Retriever
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.inverted import Inverted
from encloze.storage.atomic import atomic_folder
from encloze.storage.json_files import write_json
from encloze.storage.manifest import check_inside, write_manifest

ARRAYS = [
    "flat/embeddings.npy",
    *(f"{view}/{name}.npy" for view in ("inverted", "bm25") for name in ("begins", "documents", "values")),
    "bm25/lengths.npy",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index folder with three views."""
    folder = tmp_path_factory.mktemp("built")
    documents = [Document(str(d["_id"]), str(d["title"]), str(d["text"])) for d in toys.documents()]
    corpus = Corpus.from_documents(documents, folder / "corpus.arrow")
    with atomic_folder(folder / "index") as staging:
        build_index(corpus, [Flat(), Inverted(), Bm25()], TwoViews(), staging)
    return folder / "index"


@pytest.fixture
def index(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the index."""
    monkeypatch.setattr(searching, "load_encoder", lambda *_: TwoViews())
    return shutil.copytree(built, tmp_path / "index")


def refuses(index: Path, *parts: str, views: tuple[str, ...] = ()) -> None:
    """Write the manifest again, and assert that opening the index fails with a message that has all parts."""
    write_manifest(index, durable=False)
    with pytest.raises(CheckpointError) as error:
        Retriever.load(index, views=views)
    assert all(part in str(error.value) for part in parts), str(error.value)


def edit_array(file: Path, change: Callable[[np.ndarray], Any]) -> None:
    array = np.load(file)
    changed = change(array)
    np.save(file, array if changed is None else changed, allow_pickle=True)


def put(position: int, value: float) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array.reshape(-1)[position] = value

    return change


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("flat/embeddings.npy", put(5, np.nan)),
        ("flat/embeddings.npy", put(5, np.inf)),
        ("bm25/values.npy", put(3, np.nan)),
        ("bm25/values.npy", put(3, -1.0)),
        ("inverted/values.npy", put(3, np.inf)),
        ("inverted/documents.npy", put(0, -1)),
        ("bm25/documents.npy", put(-1, 40)),
        ("bm25/documents.npy", put(2, 2**31 - 1)),
        ("bm25/documents.npy", lambda array: array[::-1].copy()),
        ("inverted/documents.npy", lambda array: np.random.default_rng(0).permutation(array)),
        ("bm25/begins.npy", put(0, 1)),
        ("bm25/begins.npy", put(-1, 10**12)),
        ("inverted/begins.npy", put(3, -(2**60))),
        ("inverted/begins.npy", lambda array: np.sort(array)[::-1].copy()),
        ("bm25/lengths.npy", put(0, -7)),
    ],
    ids=lambda value: value if isinstance(value, str) else "change",  # a function's text holds its address
)
def test_numbers_out_of_range_or_order_are_refused(index: Path, file: str, change: Callable[[np.ndarray], Any]) -> None:
    edit_array(index / file, change)
    refuses(index, file, views=(file.partition("/")[0],))


@pytest.mark.parametrize("file", ARRAYS)
def test_arrays_of_another_type_or_size_are_refused(index: Path, file: str) -> None:
    before = (index / file).read_bytes()
    for change in (
        lambda array: array.astype(np.float64 if array.dtype != np.float64 else np.int8),
        lambda array: array[..., None],
        lambda array: array[:-1],
        lambda array: np.array(["text"], dtype=object),
        lambda array: array[:0],
    ):
        edit_array(index / file, change)
        refuses(index, file.partition("/")[0], views=(file.partition("/")[0],))
        (index / file).write_bytes(before)
    header = before[:128].replace(b"(", b"(9", 1)  # more rows than there are bytes
    for damaged in (header + before[128:], b"", before[:50], before[:-1], b"\x93NUMPY" + b"\xff" * 100):
        (index / file).write_bytes(damaged)
        refuses(index, file, views=(file.partition("/")[0],))


def test_terms_that_do_not_fit_the_postings_are_refused(index: Path) -> None:
    file = index / "bm25" / "words.json"
    terms = json.loads(file.read_text(encoding="utf-8"))
    for damaged in (terms[:-1], [*terms, "more"], [terms[1], *terms[1:]], {"a": 1}, [1] * len(terms), None):
        write_json(file, damaged)
        refuses(index, "bm25/words.json")


def test_a_shape_that_does_not_fit_is_refused(index: Path) -> None:
    for shape in ({"documents": 40, "terms": 3}, {"documents": -1, "terms": 26}, {"documents": "40"}, [], {}):
        write_json(index / "inverted" / "shape.json", shape)
        refuses(index, "shape.json")


@pytest.mark.parametrize("name", ["/etc", "../other", "..", ".", "", "flat/../../x", "a\0b", "FLAT", "flat\\x"])
def test_names_of_views_cannot_lead_out_of_the_folder(index: Path, name: str) -> None:
    file = index / "index.json"
    description = json.loads(file.read_text(encoding="utf-8"))
    description["views"][0]["name"] = name
    write_json(file, description)
    refuses(index, "index.json", "is no name of an index")


def test_symbolic_links_cannot_lead_out_of_the_folder(index: Path, tmp_path: Path) -> None:
    (index / "flat").rename(tmp_path / "outside")
    (index / "flat").symlink_to(tmp_path / "outside")
    refuses(index, "leads out of the folder")
    manifest = json.loads((index / "manifest.json").read_text(encoding="utf-8"))
    entry = next(iter(manifest["files"].values()))
    for name in ("/etc/passwd", "../outside/embeddings.npy"):
        write_json(index / "manifest.json", {"files": {name: entry}})
        with pytest.raises(CheckpointError, match="leads out of the folder"):
            Retriever.load(index)


def test_links_inside_of_a_folder_and_in_the_cache_of_the_hub_are_allowed(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "1f3a", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "other.json").symlink_to("config.json")
    check_inside(snapshot, "config.json")
    check_inside(snapshot, "other.json")
    (snapshot / "outside.json").symlink_to("/etc/hostname")
    with pytest.raises(CheckpointError, match=r"'outside\.json' leads out of the folder"):
        check_inside(snapshot, "outside.json")


@pytest.mark.parametrize(
    "change",
    [
        {"documents": 41},
        {"documents": "40"},
        {"views": []},
        {"views": None},
        {"views": [{"name": "bm25"}]},
        {"fusion_tuned_on": {"split": 1}},
        {"fusion_tuned_on": []},
        {"encloze": None},
    ],
    ids=str,
)
def test_a_description_of_another_shape_is_refused(index: Path, change: dict[str, Any]) -> None:
    file = index / "index.json"
    write_json(file, {**json.loads(file.read_text(encoding="utf-8")), **change})
    refuses(index)


@pytest.mark.parametrize(
    ("setting", "value"), [("k1", float("nan")), ("k1", float("inf")), ("b", float("nan")), ("k1", -1), ("b", "x")]
)
def test_settings_of_bm25_that_are_no_numbers_in_range_are_refused(index: Path, setting: str, value: Any) -> None:
    file = index / "index.json"
    description = json.loads(file.read_text(encoding="utf-8"))
    next(view for view in description["views"] if view["name"] == "bm25")["settings"][setting] = value
    file.write_text(json.dumps(description), encoding="utf-8")
    write_manifest(index)
    with pytest.raises(EnclozeError, match=r"k1|\bb\b"):
        Retriever.load(index, views=("bm25",))
    with pytest.raises(ValueError, match="k1 must be a number, not nan"):
        Bm25(k1=float("nan"))


def test_weights_of_a_fusion_that_are_not_finite_are_refused() -> None:
    for value in ("nan", "inf"):
        with pytest.raises(ValueError, match=f"weights must be a number, not {value}"):
            Weighted((float(value), 1.0))


def with_offsets(file: Path, change: Callable[[np.ndarray], None]) -> None:
    """Change the offsets of the texts in an Arrow file."""
    content = bytearray(file.read_bytes())
    with pa.ipc.open_file(pa.BufferReader(bytes(content))) as reader:
        column = reader.get_batch(0).column("text")
        offsets = column.buffers()[1].to_pybytes()
    at = bytes(content).index(offsets)
    array = np.frombuffer(offsets, np.int32).copy()
    change(array)
    content[at : at + len(offsets)] = array.tobytes()
    file.write_bytes(content)


@pytest.mark.parametrize(
    "change", [put(3, 2**31 - 1), put(3, -5), put(40, 2**30), put(0, 10**6), put(1, -(2**31))], ids=lambda _: "change"
)
def test_wild_offsets_of_documents_are_refused(index: Path, change: Callable[[np.ndarray], None]) -> None:
    """Without a check, reading such a file crashes the process."""
    with_offsets(index / "documents.arrow", change)
    write_manifest(index)
    with pytest.raises(DataError, match=r"documents\.arrow is not an Arrow file of documents"):
        Retriever.load(index, views=("bm25",))


def test_texts_that_are_not_utf_8_or_missing_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "documents.arrow"
    Corpus.from_documents([], file)
    schema = pa.ipc.open_file(file).schema
    for title, message in ((pa.array([None], pa.string()), "values are missing"), (b"\xff\xfe", "UTF8")):
        if isinstance(title, bytes):
            title = pa.array([title], pa.binary()).view(pa.string())
        columns = [pa.array(["d1"]), title, pa.array(["text"]), pa.array([None], pa.string()), pa.array([0])]
        columns.append(pa.array([None], pa.string()))
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=schema))
        with pytest.raises(DataError, match=message):
            Corpus(file)


def test_flips_in_documents_are_refused_or_harmless(index: Path) -> None:
    """With right checksums, a flipped bit may change a text, but never crashes the process."""
    file = index / "documents.arrow"
    before, random = file.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(before)
        changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
        file.write_bytes(changed)
        try:
            list(Corpus(file))
        except EnclozeError as error:
            assert "documents.arrow" in str(error)
