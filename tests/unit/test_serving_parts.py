"""Parts of the HTTP service: batching, API keys, judgments."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from encloze import recipe
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError, RecipeError, StorageError
from encloze.serving.batching import Batcher
from encloze.serving.errors import OverloadedError
from encloze.serving.judgments import JudgmentFile
from encloze.serving.keys import ApiKeys

# Batching


class Work:
    """What batches were processed; each waits until it may go on."""

    def __init__(self) -> None:
        self.batches, self.go, self.measured = list[tuple[str, list[str]]](), threading.Event(), list[Any]()

    def __call__(self, key: str, items: list[str]) -> list[str]:
        self.go.wait(10)
        self.batches.append((key, items))
        if "fail" in items:
            raise ValueError("it failed")
        return [f"{key} {item}" for item in items]

    def batch(self, *measured: Any) -> None:
        self.measured.append(measured)


def with_batcher(use: Callable[[Batcher, Work], Any], max_size: int = 100, max_waiting: int = 100) -> Work:
    work = Work()

    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher("letters", work, executor, max_size, max_waiting, len, work)
            batcher.start()
            try:
                await use(batcher, work)
            finally:
                work.go.set()
                await batcher.close()

    asyncio.run(run())
    return work


async def waiting(*requests: Any) -> list[asyncio.Task[Any]]:
    """Start requests, and return when they wait."""
    tasks = []
    for request in requests:
        tasks.append(asyncio.ensure_future(request))
        await asyncio.sleep(0.02)
    return tasks


def test_requests_that_wait_at_the_same_time_are_one_batch() -> None:
    async def use(batcher: Batcher, work: Work) -> None:
        tasks = await waiting(
            batcher.submit("a", ["one"]),
            batcher.submit("a", ["two", "three"]),
            batcher.submit("b", ["four"]),
            batcher.submit("a", ["five"]),
        )
        work.go.set()
        assert await asyncio.gather(*tasks) == [["a one"], ["a two", "a three"], ["b four"], ["a five"]]

    work = with_batcher(use)
    assert work.batches == [("a", ["one"]), ("a", ["two", "three", "five"]), ("b", ["four"])]
    assert [measured[:2] for measured in work.measured] == [("letters", 1), ("letters", 3), ("letters", 1)]
    assert all(waited >= 0 and computed >= 0 for *_, waited, computed in work.measured)


def test_a_batch_is_not_larger_than_allowed_but_for_a_single_request() -> None:
    async def use(batcher: Batcher, work: Work) -> None:
        sizes = ("x", "y" * 6, "z" * 6, "much too long")
        tasks = await waiting(*(batcher.submit("a", [text]) for text in sizes))
        work.go.set()
        await asyncio.gather(*tasks)

    work = with_batcher(use, max_size=10)
    assert [items for _, items in work.batches] == [["x"], ["y" * 6], ["z" * 6], ["much too long"]]


def test_too_many_waiting_items_are_refused() -> None:
    async def use(batcher: Batcher, work: Work) -> None:
        tasks = await waiting(batcher.submit("a", ["1"]), batcher.submit("a", ["2", "3"]))
        with pytest.raises(OverloadedError, match="2 items are waiting for letters") as error:
            await batcher.submit("a", ["4", "5"])
        assert error.value.headers == {"Retry-After": "1"} and error.value.status == 429
        work.go.set()
        await asyncio.gather(*tasks)
        assert await batcher.submit("a", ["4", "5", "6", "7"]) == ["a 4", "a 5", "a 6", "a 7"]  # nothing waits

    with_batcher(use, max_waiting=3)


def test_a_cancelled_request_is_left_out() -> None:
    async def use(batcher: Batcher, work: Work) -> None:
        first, gone, last = await waiting(*(batcher.submit("a", [text]) for text in ("first", "gone", "last")))
        gone.cancel()
        work.go.set()
        assert await asyncio.gather(first, last) == [["a first"], ["a last"]]

    assert with_batcher(use).batches == [("a", ["first"]), ("a", ["last"])]


def test_a_failure_reaches_the_requests_of_its_batch_only() -> None:
    async def use(batcher: Batcher, work: Work) -> None:
        tasks = await waiting(batcher.submit("a", ["fine"]), batcher.submit("a", ["fail"]), batcher.submit("a", ["x"]))
        work.go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found[0] == ["a fine"] and [str(error) for error in found[1:]] == ["it failed", "it failed"]
        assert await batcher.submit("a", ["next"]) == ["a next"]

    with_batcher(use)


# Keys


KEYS = "# comment\n\nreader read 0123456789abcdef\nwrite fedcba9876543210\nffffffffffffffff9\n"


def test_keys_have_names_and_scopes(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEYS)
    keys = ApiKeys.load(tmp_path / "keys")
    assert len(keys) == 3
    found = [keys.find(text) for text in ("0123456789abcdef", "fedcba9876543210", "ffffffffffffffff9")]
    assert [(key.name, key.scope) for key in found if key] == [
        ("reader", "read"),
        ("key-2", "write"),
        ("key-3", "read"),
    ]
    assert not any(keys.find(text) for text in (None, "", "0123456789abcde", "reader", "\udcff"))
    assert "0123456789abcdef" not in repr(found)


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCLOZE_API_KEYS", "a write 0123456789abcdef,fedcba9876543210")
    assert len(ApiKeys.load(None)) == 2
    monkeypatch.delenv("ENCLOZE_API_KEYS")
    keys = ApiKeys.load(None)
    anyone = keys.find(None)
    assert not keys and anyone is not None and anyone.scope == "write"


@pytest.mark.parametrize(
    "line", ["x admin 0123456789abcdef", "a b read 0123456789abcdef", "read short-secret", "read ключключключключ"]
)
def test_a_malformed_key_is_reported_without_showing_it(line: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# one\n{line}\n")
    with pytest.raises(RecipeError) as error:
        ApiKeys.load(tmp_path / "keys")
    assert "line 2" in str(error.value) and line.split()[-1] not in str(error.value)
    with pytest.raises(StorageError, match="cannot be read"):
        ApiKeys.load(tmp_path / "missing")
    for content in (b"", b"# only a comment\n", b"\xff\xfe"):
        (tmp_path / "empty").write_bytes(content)
        with pytest.raises(RecipeError, match=r"there is no key in it|line 1"):
            ApiKeys.load(tmp_path / "empty")


def test_the_rate_of_a_key_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    key = ApiKeys.parse(["0123456789abcdef"]).find("0123456789abcdef")
    assert key is not None
    key.filled = now[0]
    assert key.may_send(2.0) == 0.0 and key.may_send(2.0) == pytest.approx(0.5)
    now[0] += 10
    assert [key.may_send(2.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(0.5)]


# Judgments


def judged(folder: Path, *judgments: tuple[str, str, int | None]) -> JudgmentFile:
    """Store judgments, and let another service use the folder."""
    file = JudgmentFile(folder)
    for query, document, grade in judgments:
        file.add({query: {document: grade}})
    file.close()
    return file


def test_judgments_are_kept_replaced_and_removed(tmp_path: Path) -> None:
    given = [("old  rivers\n", "d1", 1), ("old rivers", "d2", 0), ("old rivers", "d1", 2), ("other", "d1", 1)]
    file = judged(tmp_path / "judged", *given, ("other", "d1", None))
    for opened in (file, judged(tmp_path / "judged")):
        assert opened.grades(" old rivers ") == {"d1": 2, "d2": 0} and opened.grades("other") == {}
        assert len(opened) == 2
    assert len((tmp_path / "judged" / "judgments.jsonl").read_text().splitlines()) == 5


def test_judgments_are_a_data_set(dataset: Path, tmp_path: Path) -> None:
    judged(tmp_path / "judged", ("נהר ישן", "river-history", 1))
    settings = {"type": "generated_queries", "corpus": str(dataset), "path": str(tmp_path / "judged")}
    split = DatasetSplit(recipe.coerce(Format, settings, source="test", name="dataset"), "judged")
    assert [query.text for query in split.queries] == ["נהר ישן"]
    assert [*split.judgments.values()] == [{"river-history": 1}]
    assert split.format.splits() == ["judged"] and len(split.corpus) == 40


def test_a_half_written_judgment_is_dropped_and_a_damaged_log_refused(tmp_path: Path) -> None:
    folder = tmp_path / "judged"
    judged(folder, ("rivers", "d1", 1))
    with (folder / "judgments.jsonl").open("a") as stream:
        stream.write('{"query": "rivers", "docu')
    judged(folder, ("rivers", "d2", 1))
    assert judged(folder).grades("rivers") == {"d1": 1, "d2": 1}
    lines = (folder / "judgments.jsonl").read_text().splitlines()
    assert [json.loads(line)["document"] for line in lines] == ["d1", "d2"]
    (folder / "judgments.jsonl").write_text('{"query": "rivers"}\n')
    with pytest.raises(CheckpointError, match="line 1"):
        judged(folder)


def test_a_folder_with_something_else_and_one_in_use_are_refused(dataset: Path, tmp_path: Path) -> None:
    before = (dataset / "queries.jsonl").read_bytes()
    (tmp_path / "file").write_text("text")
    for path in (dataset, tmp_path / "file"):
        with pytest.raises(StorageError, match="contains something else than judgments"):
            judged(path)
    assert (dataset / "queries.jsonl").read_bytes() == before
    file = JudgmentFile(tmp_path / "judged")
    with pytest.raises(StorageError, match="another service stores judgments in"):
        JudgmentFile(tmp_path / "judged")
    file.close()
