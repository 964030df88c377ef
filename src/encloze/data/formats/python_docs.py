"""The docstrings of the Python packages on this machine, read with ast and never imported."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from encloze import progress
from encloze.data.duplicates import group_duplicates
from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError
from encloze.storage.cache import cache_folder

_VERSION = 3  # of the extraction; a new one makes the cache again
_LEFT_OUT = {
    "test",
    "tests",
    "testing",
    "_testing",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "site-packages",
    "dist-packages",
    "_vendor",
}
_PARTS, _SHARES = ("train", "dev", "test"), (0.65, 0.12, 0.23)
_LONGEST_SUMMARY = 30  # words; what is longer is no summary line
_RULER = re.compile(r"[^\w\s]{4,}")  # a line above or below a heading
_Entry = dict[str, Any]


@dataclass(frozen=True)
class PythonDocs(Format, name="python_docs"):
    """A retrieval task made of docstrings: the summary line asks, the rest of the docstring answers.

    A document's title is its qualified name, its source the module, its position the order in there. Whole
    packages are train, dev or test; near-identical docstrings go together, to the training part if any of them is
    in there. Pre-training sees all bodies, but summary lines of the training part only.
    """

    rank: ClassVar[int] = 100

    packages: tuple[str, ...] = ("stdlib", "numpy", "scipy", "torch")
    """Packages to read; ``stdlib`` stands for the standard library, each of its modules a package by itself."""
    only: Literal["all", "train", "held_out"] = "all"
    """Which documents to hold; held_out are those of the dev and test packages, which training never sees."""
    least_summary_words: int = 4
    """Shorter summary lines are no queries, and their docstrings no documents."""
    least_body_words: int = 15
    """Shorter docstrings are left out."""

    def documents(self, faults: Faults) -> Iterator[Document]:
        for entry in self._held():
            yield _document(entry, entry["body"])

    def pretraining_documents(self, faults: Faults) -> Iterator[Document]:
        for entry in self._held():
            in_training = entry["split"] == "train"
            yield _document(entry, f"{entry['summary']}\n\n{entry['body']}" if in_training else entry["body"])

    def queries(self, faults: Faults) -> Iterator[Query]:
        return (Query(f"q:{ids[0]}", summary) for summary, ids in self._asked().items())

    def judgments(self, split: str, faults: Faults) -> Iterator[Judgment]:
        if split not in self.splits():
            raise DataError(f"python_docs has no split {split!r}. It has: {', '.join(self.splits())}")
        split_of = {entry["id"]: entry["split"] for entry in self._entries()}
        for ids in self._asked().values():
            if split_of[ids[0]] == split:
                yield from (Judgment(f"q:{ids[0]}", id_, 1) for id_ in ids)

    def splits(self) -> list[str]:
        return ["dev", "test", "train"]

    def fingerprint(self) -> str:
        return f"{self._extraction()}-{self.only}"

    def _extraction(self) -> str:
        """Changes with whatever changes the extracted docstrings."""
        read = [_VERSION, platform.python_version(), self.least_summary_words, self.least_body_words]
        stamps = [_stamp(package) for package in self.packages]
        return hashlib.sha256(json.dumps([read, self.packages, stamps]).encode()).hexdigest()[:32]

    def _held(self) -> Iterator[_Entry]:
        part = {"train": "train", "dev": "held_out", "test": "held_out"}
        return (entry for entry in self._entries() if self.only in ("all", part[entry["split"]]))

    def _asked(self) -> dict[str, list[str]]:
        """Ids of the documents that each query is about. One summary may head several docstrings.

        A summary that heads docstrings of several parts is left out, and so is one that heads more than five ("Return
        the number of ..."), because it does not tell what is sought, and one that its own docstring repeats.
        """
        asked: dict[str, list[_Entry]] = {}
        for entry in self._entries():
            asked.setdefault(entry["summary"], []).append(entry)
        return {
            summary: [entry["id"] for entry in entries]
            for summary, entries in asked.items()
            if len(entries) <= 5
            and len({entry["split"] for entry in entries}) == 1
            and not any(_plain(summary) in _plain(entry["body"]) for entry in entries)
        }

    def _entries(self) -> list[_Entry]:
        """All docstrings with their parts, extracted once and kept in the cache."""
        file = cache_folder() / "python_docs" / f"{self._extraction()}.json"
        if not file.exists():
            entries = self._extracted()
            file.parent.mkdir(exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(entries), encoding="utf-8")
            partial.rename(file)
        held: list[_Entry] = json.loads(file.read_text(encoding="utf-8"))
        return held

    def _extracted(self) -> list[_Entry]:
        files = [(package, file) for package in self.packages for file in _files(package)]
        entries: dict[str, _Entry] = {}
        for package, file in progress.track(files, "Reading docstrings", len(files), "files"):
            for entry in _docstrings(file, _root(package)):
                summary_words, body_words = len(entry["summary"].split()), len(entry["body"].split())
                if (
                    self.least_summary_words <= summary_words <= _LONGEST_SUMMARY
                    and body_words >= self.least_body_words
                ):
                    entries.setdefault(entry["id"], entry | {"package": package})
        if not entries:
            raise DataError(f"no docstrings were found in {', '.join(self.packages)}")
        held = list(entries.values())
        _assign_splits(held)
        return held


@functools.cache
def _stamp(package: str) -> str:
    """Changes with any file of a package."""
    digest = hashlib.sha256()
    for file in _files(package):
        digest.update(f"{file}\0{file.stat().st_size}\0{file.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _plain(text: str) -> str:
    """Letters and digits only, so that a line is found whatever its marks."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _document(entry: _Entry, text: str) -> Document:
    return Document(entry["id"], entry["title"], text, entry["module"], entry["position"])


def _root(package: str) -> Path:
    """The folder that holds a package's folder."""
    if package == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"])
    found = importlib.util.find_spec(package.partition(".")[0])
    if found is None or not found.submodule_search_locations:
        raise DataError(f"python_docs: there is no package {package!r} here. Install it, or leave it out of packages")
    return Path(found.submodule_search_locations[0]).parent


def _files(package: str) -> list[Path]:
    root = _root(package)
    top = root if package == "stdlib" else root.joinpath(*package.split("."))
    files = (file.relative_to(root) for file in sorted(top.rglob("*.py")))
    return [root / file for file in files if not _LEFT_OUT.intersection(file.parts)]


def _docstrings(file: Path, root: Path) -> Iterator[_Entry]:
    """Every public docstring of a file, in order, cut into its summary line and its body."""
    parts = file.relative_to(root).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old packages have invalid escapes in their strings
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # templates and files for another Python are no documentation
    public = ".".join(part for part in module.split(".") if not part.startswith("_"))
    for position, (name, node) in enumerate(_public(tree, "")):
        text = ast.get_docstring(node)
        if text:
            summary, body = (*re.split(r"\n\s*\n", text, maxsplit=1), "")[:2]
            yield {
                "id": f"{module}:{name}" if name else module,
                "title": f"{public}.{name}".strip("."),
                "module": module,
                "position": position,
                "summary": " ".join(word for word in summary.split() if not _RULER.fullmatch(word)),
                "body": body.strip(),
            }


def _public(node: ast.AST, name: str) -> Iterator[tuple[str, Any]]:
    """Whatever can have a docstring, with its name inside the module; private names are left out."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        yield name, node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return  # functions inside functions are nobody's interface
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if not child.name.startswith("_"):
                yield from _public(child, f"{name}.{child.name}".strip("."))
        elif isinstance(child, (ast.If, ast.Try)):
            yield from _public(child, name)


def _assign_splits(entries: list[_Entry]) -> None:
    sizes = Counter((entry["package"], entry["module"].partition(".")[0]) for entry in entries)
    rank_of = {name: _PARTS.index(part) for name, part in _parts(sizes).items()}
    groups = group_duplicates([entry["body"] for entry in entries]).tolist()
    ranks = [rank_of[entry["module"].partition(".")[0]] for entry in entries]
    earliest = dict.fromkeys(groups, len(_PARTS))
    for group, rank in zip(groups, ranks, strict=True):
        earliest[group] = min(earliest[group], rank)
    for entry, group in zip(entries, groups, strict=True):
        entry["split"] = _PARTS[earliest[group]]


def _parts(sizes: dict[tuple[str, str], int]) -> dict[str, str]:
    """The part of each top-level package. ``sizes`` counts docstrings by (package, top-level name).

    The many small modules of the standard library are drawn by a hash of their names. Of the few installed packages
    the largest goes first, and each goes to the part that is furthest below its share.
    """
    chosen, filled = {}, dict.fromkeys(_PARTS, 0)
    installed = {top: size for (package, top), size in sizes.items() if package != "stdlib"}
    for done, (top, size) in enumerate(sorted(installed.items(), key=lambda item: (-item[1], item[0]))):
        total = sum(sorted(installed.values(), reverse=True)[: done + 1])
        lack = {part: share - filled[part] / total for part, share in zip(_PARTS, _SHARES, strict=True)}
        chosen[top] = max(lack, key=lambda part: lack[part])
        filled[chosen[top]] += size
    for package, top in sizes:
        if package == "stdlib":
            draw = int.from_bytes(hashlib.blake2b(top.encode(), digest_size=4).digest(), "big") / 2**32
            chosen[top] = _PARTS[int(np.searchsorted(np.cumsum(_SHARES[:-1]), draw, side="right"))]
    return chosen
