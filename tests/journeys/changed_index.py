"""Programs that change an index while they are killed, or while other processes search it (see the test)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from encloze import Retriever
from encloze.data.records import Document
from encloze.retrieval.index_folder import generation_of, write_generation
from encloze.retrieval.reindexing import beside, cut_over
from encloze.storage.manifest import check_manifest, write_manifest

WORDS = ["river", "engine", "violin", "comet", "glacier", "orchard", "library", "reactor", "harbour"]
Documents = dict[str, Document]
Change = tuple[str, list[Document]]


def changes(seed: int, left: Documents) -> Iterator[Change]:
    """Yield random changes, with the documents that they concern, and apply each to ``left`` afterwards."""
    draw, number = random.Random(seed), 0
    while True:
        kind = draw.choice(["add", "update", "delete", "compact", "cut_over"])
        chosen = draw.sample(sorted(left), min(len(left) - 1, draw.randint(1, 4)))
        if kind in ("add", "update"):
            names = (
                chosen if kind == "update" else [f"{seed}-{(number := number + 1)}" for _ in range(draw.randint(1, 9))]
            )
            some = [Document(name, "", " ".join(draw.choices(WORDS, k=draw.randint(2, 8)))) for name in names]
        else:
            some = [left[name] for name in chosen] if kind == "delete" else []
        yield kind, some
        apply(kind, some, left)


def apply(kind: str, some: list[Document], left: Documents) -> None:
    """Apply a change to the documents."""
    if kind in ("add", "update", "delete"):
        for document in some:
            left.pop(document.id, None)
    if kind in ("add", "update"):
        left.update((document.id, document) for document in some)


def change(retriever: Retriever, kind: str, some: list[Document]) -> None:
    """Apply a change to an index."""
    assert retriever.folder is not None  # it was loaded from a folder
    if kind == "compact":
        retriever.compact()
    elif kind == "cut_over":
        for role in ("next", "previous"):
            shutil.rmtree(beside(retriever.folder, role), ignore_errors=True)
        retriever.delete([])  # removes what a killed process has left
        following = shutil.copytree(retriever.folder, beside(retriever.folder, "next"))
        write_generation(following, generation_of(retriever.folder) + 1)
        write_manifest(following)
        cut_over(retriever.folder, "next", lambda: None)
        retriever.refresh()
    elif kind == "delete":
        retriever.delete([document.id for document in some])
    elif some:
        retriever.add(some, replace=kind == "update")


def kill_at_random(folder: Path, kills: int) -> None:
    """Kill processes that change an index. Check that it has the documents before or after the change, never others."""
    left = {f"d{n}": Document(f"d{n}", "", f"{WORDS[n % 9]} {WORDS[n % 7]}") for n in range(40)}
    Retriever.build(list(left.values()), indexes=["bm25"], output=folder)
    draw, acknowledged, unfinished = random.Random(0), 0, 0
    for seed in range(1, kills + 1):
        readable, writable = os.pipe()
        if not (process := os.fork()):
            os.close(readable)
            retriever = Retriever.load(folder)
            for kind, some in changes(seed, dict(left)):
                os.write(writable, b"-")
                change(retriever, kind, some)
                os.write(writable, b"+")
            os._exit(0)
        os.close(writable)
        time.sleep(draw.uniform(0.0, 0.25))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        with os.fdopen(readable, "rb") as stream:
            log = stream.read()
        done = log.count(b"+")
        acknowledged, unfinished = acknowledged + done, unfinished + log.endswith(b"-")
        before, after = dict(left), dict(left)
        for position, (kind, some) in enumerate(changes(seed, dict(left))):
            if position < done:
                apply(kind, some, before)
            if position < log.count(b"-"):
                apply(kind, some, after)
            else:
                break
        left = check(folder, before, after)
    print(f"{kills} kills, {acknowledged} acknowledged changes, {unfinished} changes under way")


def check(folder: Path, *allowed: Documents) -> Documents:
    """Check that an index has the documents of one of ``allowed``, and finds them. Return them."""
    check_manifest(folder, contents=True)
    retriever = Retriever.load(folder)
    found = {document.id: document for document in retriever.corpus}
    assert len(found) == len(retriever)
    match = next(documents for documents in allowed if list(documents.items()) == list(found.items()))
    for word in WORDS[:3]:
        expected = {document.id for document in match.values() if word in document.text.split()}
        assert {hit.id for hit in retriever.search(word, max(1, len(found)))} == expected
    return match


def read_while_it_changes(folder: Path, seconds: float) -> None:
    """Let one process change an index while two others search it. Each search must give the documents of one state.

    Every document contains the words "version N". N is the same in the first twenty documents of every state.
    """

    def documents(version: int) -> list[Document]:
        return [Document(f"d{n}", "", f"{WORDS[n % 9]} version v{version}") for n in range(20 + version % 5)]

    Retriever.build(documents(0), indexes=["bm25"], output=folder)
    processes, end = [], time.time() + seconds
    for _ in range(2):
        if not (process := os.fork()):
            os._exit(_read(folder, end))
        processes.append(process)
    writer, version = Retriever.load(folder), 0
    while time.time() < end:
        version += 1
        writer.add(documents(version), replace=True)
        if version % 5 == 0:
            writer.delete([document.id for document in documents(4)[20:]])
            writer.compact()
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    assert codes == [0, 0], codes
    print(f"{version} versions")


def _read(folder: Path, end: float) -> int:
    """Search an index until ``end``, and open it again after each change. Return 0 if all results were right."""
    searches, memory = 0, list[int]()
    retriever = Retriever.load(folder)
    while time.time() < end:
        retriever.refresh()
        hits = retriever.search("version", 50)
        versions = {hit.text.split()[-1] for hit in hits if int(hit.id[1:]) < 20}
        if (
            len(hits) != len(retriever)
            or len(versions) != 1
            or not {f"d{n}" for n in range(20)} <= {h.id for h in hits}
        ):
            print(f"wrong result: {len(hits)} hits of {len(retriever)} documents, {versions}", file=sys.stderr)
            return 1
        searches += 1
        if searches % 20 == 0:
            memory.append(int(Path("/proc/self/statm").read_text().split()[1]))
    growth = (memory[-1] - memory[len(memory) // 3]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if len(memory) > 3 else 0
    print(f"{searches} searches, memory grew by {growth:.1f} MB")
    return 0 if growth < 30 else 2


if __name__ == "__main__":
    if sys.argv[1] == "kills":
        kill_at_random(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        read_while_it_changes(Path(sys.argv[2]), float(sys.argv[3]))
