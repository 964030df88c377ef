"""Changes of an index folder: whatever was added, replaced, deleted and compacted, it finds what a new index finds."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_integrity import TwoViews

from encloze import Corpus, Retriever
from encloze.data.records import Document, Representation
from encloze.errors import CheckpointError, DataError, RecipeError, StaleIndexError, StorageError
from encloze.retrieval.index_folder import view_bytes
from encloze.storage.manifest import check_manifest, read_manifest
from encloze.storage.output_lock import lock_output

INDEXES = ["flat", "inverted", "bm25"]
WORDS = ["abba", "bee", "cab", "deed", "egg", "fez", "gag", "hex", "ivy", "jazz"]
QUERIES = ["bee", "cab deed", "jazz hex egg", "abba abba ivy"]


def document(number: int, version: int = 0) -> Document:
    """Return a document whose text depends on its number and version."""
    draw = np.random.default_rng([number, version])
    text = " ".join(draw.choice(WORDS, draw.integers(1, 9)))
    return Document(f"d{number}", "", text, fields={"number": number, "version": version})


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: what a power failure leaves is not tested here."""
    monkeypatch.setattr("encloze.storage.manifest.sync", lambda _: None)


class Both(TwoViews):
    """The letters of documents and queries as embeddings and as term weights."""

    def represent_queries(self, texts: Sequence[str]) -> Representation:
        return next(self.represent_documents(iter(texts), len(texts)))

    def term_names(self, terms: np.ndarray) -> list[str]:
        return ["abcdefghijklmnopqrstuvwxyz"[term] for term in terms]


def build(documents: Sequence[Document], output: Path | None = None) -> Retriever:
    return Retriever.build(documents, Both(), indexes=INDEXES, fusion="weighted", output=output)


def assert_same_hits(changed: Retriever, expected: Retriever) -> None:
    """Assert that two retrievers have the same documents, and find them with the same scores."""
    assert list(changed.corpus) == list(expected.corpus)
    for filter_ in (None, "number >= 5", "version == 1"):
        if filter_ and not list(expected.corpus):
            continue
        for view, other in zip(changed.views, expected.views, strict=True):
            one, two = (Retriever(r.corpus, [v]) for r, v in ((changed, view), (expected, other)))
            if filter_ is None:
                compare(one.search(QUERIES, 7), two.search(QUERIES, 7))
        compare(changed.search(QUERIES, 7, filter=filter_), expected.search(QUERIES, 7, filter=filter_))


def compare(changed: Sequence[Sequence[object]], expected: Sequence[Sequence[object]]) -> None:
    for hits, others in zip(changed, expected, strict=True):
        scores, other_scores = ([hit.score for hit in some] for some in (hits, others))
        np.testing.assert_allclose(scores, other_scores, rtol=1e-4, atol=1e-6)
        last = min(scores, default=0) + 1e-5  # equal scores at the end may belong to other documents
        assert {h.id for h in hits if h.score > last} == {h.id for h in others if h.score > last}


NUMBERS = st.lists(st.integers(0, 14), min_size=1, max_size=6, unique=True)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("update"), NUMBERS),
        st.tuples(st.just("delete"), NUMBERS),
        st.tuples(st.just("add"), NUMBERS),
        st.tuples(st.sampled_from(["compact", "reopen", "filter"]), st.just([])),
    ),
    min_size=1,
    max_size=7,
)


def check_changes(folder: Path, changes: list[tuple[str, list[int]]]) -> None:
    """Apply changes to an index of ten documents, and compare it with an index of what is left."""
    left = {document(number).id: document(number) for number in range(10)}
    retriever = build(list(left.values()), folder / "index")
    for version, (change, numbers) in enumerate(changes, 1):
        if change == "add":
            new = [document(n, version) for n in numbers if document(n).id not in left]
            if new:
                retriever.add(new)
            left |= {d.id: d for d in new}
        elif change == "update":
            for number in numbers:
                left.pop(document(number).id, None)
            left |= {document(n).id: document(n, version) for n in numbers}
            retriever.add([document(n, version) for n in numbers], replace=True)
        elif change == "delete":
            result = retriever.delete([document(n).id for n in numbers])
            assert result.deleted == sum(left.pop(document(n).id, None) is not None for n in numbers)
            assert len(result.missing) == len(numbers) - result.deleted
        elif change == "filter":
            retriever.delete(filter="number in (1, 2, 11)")
            left = {d.id: d for d in left.values() if d.fields["number"] not in (1, 2, 11)}
        elif change == "compact":
            assert retriever.compact().documents == len(left)
        else:
            retriever = Retriever.load(folder / "index", encoder=Both())
    check_manifest(folder / "index", contents=True)
    if left:
        for same in (retriever, Retriever.load(folder / "index", encoder=Both())):
            assert_same_hits(same, build(list(left.values())))
    else:
        assert not len(retriever) and not retriever.search("bee") and not list(retriever.corpus)


@settings(max_examples=5, deadline=None)
@given(CHANGES)
def test_any_changes_give_what_a_new_index_gives(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, list[int]]]
) -> None:
    check_changes(tmp_path_factory.mktemp("changes"), changes)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(CHANGES)
def test_many_changes_give_what_a_new_index_gives(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, list[int]]]
) -> None:
    check_changes(tmp_path_factory.mktemp("changes"), changes)


def test_all_documents_can_be_deleted_and_others_added(tmp_path: Path) -> None:
    everything = [("delete", [*range(8)]), ("delete", [8, 9])]
    check_changes(tmp_path, everything)
    retriever = Retriever.load(tmp_path / "index", encoder=Both())
    assert retriever.compact().documents == 0
    retriever.add([document(3)])
    assert_same_hits(retriever, build([document(3)]))


def test_additions_keep_few_segments(tmp_path: Path) -> None:
    retriever = build([document(n) for n in range(40)], tmp_path / "index")
    segments = [retriever.add([document(40 + n)]).segments for n in range(9)]
    assert max(segments) <= 5 and len(retriever) == 49
    assert len(list((tmp_path / "index" / "segments").iterdir())) == segments[-1] - 1  # merged ones are removed
    assert_same_hits(retriever, build([document(n) for n in range(49)]))


def test_an_existing_id_is_refused_and_nothing_is_added(tmp_path: Path) -> None:
    retriever = build([document(n) for n in range(10)], tmp_path / "index")
    before = read_manifest(tmp_path / "index")
    message = r"2 of 3 documents are in the index .* already, and none was added: d3, d4. Use update to replace them"
    with pytest.raises(DataError, match=message):
        retriever.add([document(3), document(4), document(20)])
    numbered = Retriever.build(["a text"], indexes=["bm25"])
    with pytest.raises(DataError, match="1 documents have no id: .* Give each document an id"):
        numbered.add(["another text"], replace=True)
    (tmp_path / "other.jsonl").write_text('{"text": "another text"}', encoding="utf-8")
    with pytest.raises(DataError, match="numbered because they have no ids. Give each document an id"):
        numbered.add(tmp_path / "other.jsonl")
    with pytest.raises(DataError, match="duplicate document id"):
        retriever.add([{"id": "x", "text": "a"}, {"id": "x", "text": "b"}])
    assert read_manifest(tmp_path / "index") == before and len(retriever) == 10


def test_a_reader_keeps_its_documents_until_it_is_refreshed(tmp_path: Path) -> None:
    writer = build([document(n) for n in range(6)], tmp_path / "index")
    reader = Retriever.load(tmp_path / "index", encoder=Both())
    assert not reader.refresh()
    writer.delete(["d1"])
    writer.add([document(9)])
    writer.compact()  # removes the files that the reader has opened
    with pytest.warns(UserWarning, match="has been changed, replaced or removed since it was opened"):
        compare(reader.search(QUERIES, 7), build([document(n) for n in range(6)]).search(QUERIES, 7))
    assert reader.refresh() and not reader.refresh()
    assert [hit.id for hit in reader.search("bee", 10)] == [hit.id for hit in writer.search("bee", 10)]
    assert list(reader.corpus.ids) == ["d0", "d2", "d3", "d4", "d5", "d9"]
    assert reader.corpus.number_of["d9"] == 5 and "d1" not in reader.corpus.number_of
    assert reader.corpus.column("id").to_pylist() == list(reader.corpus.ids)


def test_an_opened_view_alone_can_add_to_all(tmp_path: Path) -> None:
    build([document(n) for n in range(6)], tmp_path / "index")
    only = Retriever.load(tmp_path / "index", views=["bm25"], encoder=Both())
    only.add([document(8)])
    assert [view.name for view in only.views] == ["bm25"]
    whole = Retriever.load(tmp_path / "index", encoder=Both())
    assert_same_hits(whole, build([document(n) for n in (*range(6), 8)]))


def test_a_changed_collection_can_be_indexed_again(tmp_path: Path) -> None:
    retriever = build([document(n) for n in range(6)], tmp_path / "index")
    retriever.delete(["d0", "d3"])
    retriever.add([document(7)])
    again = Retriever.build(retriever.corpus, Both(), indexes=INDEXES, fusion="weighted")
    assert_same_hits(again, retriever)
    assert again.corpus.fingerprint != Corpus.from_dicts([{"id": "a", "text": "b"}]).fingerprint


def test_another_model_cannot_add(tmp_path: Path) -> None:
    build([document(n) for n in range(6)], tmp_path / "index")
    other = Both()
    other.fingerprint = "another"
    with pytest.raises(StaleIndexError, match="was built by another model"):
        Retriever.load(tmp_path / "index", encoder=other)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    retriever = build([document(n) for n in range(6)], tmp_path / "index")
    for arguments in ({}, {"ids": ["d1"], "filter": "number > 1"}):
        with pytest.raises(RecipeError, match="give either ids or a filter"):
            retriever.delete(**arguments)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="ids"):
        retriever.delete("d1")
    with pytest.raises(RecipeError, match="no document has the field 'nubmer'; did you mean 'number'?"):
        retriever.delete(filter="nubmer > 1")
    without_folder = Retriever(retriever.corpus, retriever.views)
    with pytest.raises(RecipeError, match="no index folder"):
        without_folder.add([document(9)])
    with pytest.raises(RecipeError, match="no index folder"):
        without_folder.search("bee", filter="number > 1")


@pytest.mark.parametrize("path", ["index", "link"])
def test_two_processes_cannot_change_an_index_at_once(path: str, tmp_path: Path) -> None:
    build([document(n) for n in range(6)], tmp_path / "index")
    (tmp_path / "link").symlink_to(tmp_path / "index")
    retriever, failures = Retriever.load(tmp_path / path, encoder=Both()), list[str]()

    def change() -> None:
        try:
            retriever.delete(["d1"])
        except StorageError as error:
            failures.append(str(error))

    with lock_output(tmp_path / "index"):
        thread = threading.Thread(target=change)  # a lock is held by a thread
        thread.start()
        thread.join()
    assert "is being written by another run" in failures[0] and len(retriever) == 6


@pytest.mark.parametrize("change", ["add", "delete", "compact"])
def test_a_full_disk_leaves_the_index_as_it_was(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = build([document(n) for n in range(6)], tmp_path / "index")
    retriever.delete(["d5"])
    before = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("encloze.storage.manifest.sync", full)
    changes: dict[str, Callable[[], object]] = {
        "add": lambda: retriever.add([document(9)]),
        "delete": lambda: retriever.delete(["d1"]),
        "compact": retriever.compact,
    }
    with pytest.raises(StorageError, match="the disk is full"):
        changes[change]()
    monkeypatch.undo()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == before
    assert_same_hits(Retriever.load(tmp_path / "index", encoder=Both()), build([document(n) for n in range(5)]))


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"segments": []}',
        '{"segments": [{"path": "", "documents": "6", "deleted": null}]}',
        '{"segments": [{"path": "../other", "documents": 6, "deleted": null}]}',
        '{"segments": [{"path": "", "documents": 6, "deleted": "/etc/passwd"}]}',
        '{"segments": [{"path": "", "documents": 7, "deleted": null}]}',
        '{"segments": [{"path": "", "documents": 6, "deleted": null}, {"path": "", "documents": 6, "deleted": null}]}',
    ],
)
def test_a_damaged_state_is_refused(content: str, tmp_path: Path) -> None:
    from encloze.storage.manifest import write_manifest

    retriever = build([document(n) for n in range(6)], tmp_path / "index")
    retriever.delete(["d5"])
    (tmp_path / "index" / "state-1.json").write_text(content, encoding="utf-8")
    write_manifest(tmp_path / "index", durable=False)
    with pytest.raises(CheckpointError):
        Retriever.load(tmp_path / "index", encoder=Both())


@pytest.mark.parametrize("rows", [[-1], [6], [3, 2], [2, 2]])
def test_wrong_deleted_rows_are_refused(rows: list[int], tmp_path: Path) -> None:
    from encloze.storage.manifest import write_manifest

    retriever = build([document(n) for n in range(6)], tmp_path / "index")
    retriever.delete(["d5"])
    (file,) = (tmp_path / "index" / "deleted").iterdir()
    np.save(file, np.array(rows, np.int32))
    write_manifest(tmp_path / "index", durable=False)
    with pytest.raises(CheckpointError, match="does not contain ascending rows of 6 documents"):
        Retriever.load(tmp_path / "index", encoder=Both())


def test_a_text_with_fewer_passages_replaces_all_of_its_old_ones() -> None:
    def passages(source: str, count: int) -> list[dict[str, object]]:
        return [{"id": f"{source}#{n}", "text": "bee cab", "source": source, "position": n} for n in range(count)]

    retriever = Retriever.build([*passages("a", 4), *passages("b", 2), {"id": "c", "text": "bee"}], indexes=["bm25"])
    change = retriever.add([*passages("a", 2), {"id": "d", "text": "cab"}], replace="source")
    assert (change.added, change.replaced, change.deleted, change.documents) == (3, 2, 2, 6)
    assert list(retriever.corpus.ids) == ["b#0", "b#1", "c", "a#0", "a#1", "d"]
    assert retriever.add(passages("b", 1), replace=True).deleted == 0
    with pytest.raises(RecipeError, match='expected True, False or "source", found 3'):
        retriever.add(passages("b", 1), replace=3)  # type: ignore[arg-type]


def test_added_documents_do_not_fill_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = build([document(n) for n in range(6)], tmp_path / "index")
    monkeypatch.setenv("ENCLOZE_CACHE", str(tmp_path / "cache"))
    for number in range(6, 9):
        retriever.add([document(number)])
        retriever.add([{"id": f"dict {number}", "text": "a bee"}])
    assert len(retriever) == 12
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {"verified.txt"}


def test_the_size_of_a_view_is_that_in_all_segments(tmp_path: Path) -> None:
    retriever = build([document(n) for n in range(6)], tmp_path / "index")
    before = view_bytes(tmp_path / "index", "flat")
    retriever.add([document(6)])
    assert view_bytes(tmp_path / "index", "flat") > before
    retriever.compact()
    assert view_bytes(tmp_path / "index", "flat") == before + 4 * 12
