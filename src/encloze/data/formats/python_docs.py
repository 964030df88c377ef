"""Docstrings of installed Python packages, read with ast without importing the packages."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
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
from encloze.data.lines import ErrorCollector
from encloze.data.records import Document, Judgment, Query
from encloze.errors import DataError
from encloze.settings import NonNegativeInt
from encloze.storage.cache import cache_folder
from encloze.storage.cached_files import cached_file

_VERSION = 3  # of the extraction; a new version invalidates the cache
_SKIPPED_FOLDERS = {
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
_SPLITS, _SPLIT_SHARES = ("train", "dev", "test"), (0.65, 0.12, 0.23)
_MAX_SUMMARY_WORDS = 30  # a longer first paragraph is not a summary line
_MAX_DOCUMENTS_PER_SUMMARY = 5
_RULER = re.compile(r"[^\w\s]{4,}")  # a line above or below a heading
_Entry = dict[str, Any]


@dataclass(frozen=True)
class PythonDocs(Format, name="python_docs"):
    """A retrieval task made of docstrings: the summary line is the query, the rest of the docstring is the document.

    The title of a document is the qualified name of the documented object, its source is the module, and its position
    is its place in the module. All docstrings of a package are in the same split, with one exception: near-identical
    docstrings of several packages are all in the earliest of these packages' splits (train, dev, test). Pre-training
    reads all documents, but only those of the train split include their summary lines.
    """

    recognition_order: ClassVar[int] = 100

    packages: tuple[str, ...] = ("stdlib", "numpy", "scipy", "torch")
    """Packages to read. ``stdlib`` is the standard library; each of its modules is treated as a package."""
    subset: Literal["all", "train", "held_out"] = "all"
    """Documents to include: all, only those of the train split (``train``), or only those of the dev and test splits
    (``held_out``)."""
    min_summary_words: NonNegativeInt = 4
    """Minimum number of words of a summary line; docstrings with a shorter summary line are skipped."""
    min_body_words: NonNegativeInt = 15
    """Minimum number of words after the summary line; docstrings with fewer words after it are skipped."""

    def documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for entry in self._subset_entries():
            yield _document(entry, entry["body"])

    def pretraining_documents(self, errors: ErrorCollector) -> Iterator[Document]:
        for entry in self._subset_entries():
            is_train = entry["split"] == "train"
            yield _document(entry, f"{entry['summary']}\n\n{entry['body']}" if is_train else entry["body"])

    def queries(self, errors: ErrorCollector) -> Iterator[Query]:
        return (Query(f"q:{ids[0]}", summary) for summary, ids in self._document_ids().items())

    def judgments(self, split: str, errors: ErrorCollector) -> Iterator[Judgment]:
        if split not in self.splits():
            raise DataError(f"python_docs has no split {split!r}. Its splits are: {', '.join(self.splits())}")
        split_of = {entry["id"]: entry["split"] for entry in self._entries()}
        for ids in self._document_ids().values():
            if split_of[ids[0]] == split:
                yield from (Judgment(f"q:{ids[0]}", id_, 1) for id_ in ids)

    def splits(self) -> list[str]:
        return ["dev", "test", "train"]

    def fingerprint(self) -> str:
        return f"{self._extraction_key()}-{self.subset}"

    def _extraction_key(self) -> str:
        """Return a hash of the files of the packages, the Python version and the settings that affect extraction."""
        settings = [_VERSION, platform.python_version(), self.min_summary_words, self.min_body_words]
        hashes = [_package_hash(package) for package in self.packages]
        return hashlib.sha256(json.dumps([settings, self.packages, hashes]).encode()).hexdigest()[:32]

    def _subset_entries(self) -> Iterator[_Entry]:
        subset_of = {"train": "train", "dev": "held_out", "test": "held_out"}
        return (entry for entry in self._entries() if self.subset in ("all", subset_of[entry["split"]]))

    def _document_ids(self) -> dict[str, list[str]]:
        """Return the ids of the relevant documents for each summary line that serves as a query.

        Three kinds of summary lines are not queries: those that occur in several splits; those that more than five
        docstrings share ("Return the number of ..."), which are too general; and those that are repeated in the rest of
        their docstring.
        """
        by_summary: dict[str, list[_Entry]] = {}
        for entry in self._entries():
            by_summary.setdefault(entry["summary"], []).append(entry)
        return {
            summary: [entry["id"] for entry in entries]
            for summary, entries in by_summary.items()
            if len(entries) <= _MAX_DOCUMENTS_PER_SUMMARY
            and len({entry["split"] for entry in entries}) == 1
            and not any(_alphanumeric(summary) in _alphanumeric(entry["body"]) for entry in entries)
        }

    def _entries(self) -> list[_Entry]:
        """Return all docstrings with their splits. The first call extracts them and saves them in the cache."""
        file = cache_folder() / "python_docs" / f"{self._extraction_key()}.json"
        cached_file(file, lambda path: path.write_text(json.dumps(self._extract()), encoding="utf-8"))
        entries: list[_Entry] = json.loads(file.read_text(encoding="utf-8"))
        return entries

    def _extract(self) -> list[_Entry]:
        files = [(package, file) for package in self.packages for file in _files(package)]
        by_id: dict[str, _Entry] = {}
        for package, file in progress.track(files, "Reading docstrings", len(files), "files"):
            for entry in _docstrings(file, _root(package)):
                summary_words, body_words = len(entry["summary"].split()), len(entry["body"].split())
                if self.min_summary_words <= summary_words <= _MAX_SUMMARY_WORDS and body_words >= self.min_body_words:
                    by_id.setdefault(entry["id"], entry | {"package": package})
        if not by_id:
            raise DataError(f"no docstrings were found in {', '.join(self.packages)}. Name other packages")
        entries = list(by_id.values())
        _assign_splits(entries)
        return entries


@functools.cache
def _package_hash(package: str) -> str:
    """Return a hash of the name, size, and times of modification and status change of each file of a package."""
    digest = hashlib.sha256()
    for file in _files(package):
        stat = file.stat()
        digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode())
    return digest.hexdigest()


def _alphanumeric(text: str) -> str:
    """Return the words of a text in lower case without punctuation, joined by spaces."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _document(entry: _Entry, text: str) -> Document:
    return Document(entry["id"], entry["title"], text, entry["module"], entry["position"])


def _root(package: str) -> Path:
    """Return the parent folder of a package's folder; for ``stdlib``, the folder of the standard library."""
    if package == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"])
    spec = importlib.util.find_spec(package.partition(".")[0])
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"python_docs: the package {package!r} is not installed. Install it, or remove it from packages"
        )
    return Path(spec.submodule_search_locations[0]).parent


def _files(package: str) -> list[Path]:
    root = _root(package)
    top = root if package == "stdlib" else root.joinpath(*package.split("."))
    files = (file.relative_to(root) for file in sorted(top.rglob("*.py")))
    return [root / file for file in files if not _SKIPPED_FOLDERS.intersection(file.parts)]


def _docstrings(file: Path, root: Path) -> Iterator[_Entry]:
    """Yield every public docstring of a file in order, divided into summary line and body."""
    parts = file.relative_to(root).with_suffix("").parts
    module = ".".join(part for part in parts if part != "__init__")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old packages have invalid escapes in their strings
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # templates, and files for another version of Python
    public_module = ".".join(part for part in module.split(".") if not part.startswith("_"))
    for position, (name, node) in enumerate(_public_nodes(tree, "")):
        text = ast.get_docstring(node)
        if text:
            summary, body = (*re.split(r"\n\s*\n", text, maxsplit=1), "")[:2]
            yield {
                "id": f"{module}:{name}" if name else module,
                "title": f"{public_module}.{name}".strip("."),
                "module": module,
                "position": position,
                "summary": " ".join(word for word in summary.split() if not _RULER.fullmatch(word)),
                "body": body.strip(),
            }


def _public_nodes(node: ast.AST, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the qualified name and syntax tree node of the module and of each public class and function in it."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        yield name, node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return  # nested functions are not public
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if not child.name.startswith("_"):
                yield from _public_nodes(child, f"{name}.{child.name}".strip("."))
        elif isinstance(child, (ast.If, ast.Try)):
            yield from _public_nodes(child, name)


def _assign_splits(entries: list[_Entry]) -> None:
    """Set the split of each docstring to the split of its package.

    Near-identical docstrings of packages in different splits all get the earliest of these splits (train, dev, test).
    """
    sizes = Counter((entry["package"], entry["module"].partition(".")[0]) for entry in entries)
    rank_of = {name: _SPLITS.index(split) for name, split in _package_splits(sizes).items()}
    groups = group_duplicates([entry["body"] for entry in entries]).tolist()
    ranks = [rank_of[entry["module"].partition(".")[0]] for entry in entries]
    earliest = dict.fromkeys(groups, len(_SPLITS))
    for group, rank in zip(groups, ranks, strict=True):
        earliest[group] = min(earliest[group], rank)
    for entry, group in zip(entries, groups, strict=True):
        entry["split"] = _SPLITS[earliest[group]]


def _package_splits(sizes: dict[tuple[str, str], int]) -> dict[str, str]:
    """Return the split of each top-level module, by module name.

    ``sizes`` contains the number of docstrings, keyed by the names of a package and of its top-level module.

    The many small modules of the standard library are assigned by a hash of their names. The few installed packages are
    assigned from the largest to the smallest, each to the split that is furthest below its target size.
    """
    split_of, filled = {}, dict.fromkeys(_SPLITS, 0)
    installed = {top: size for (package, top), size in sizes.items() if package != "stdlib"}
    for index, (top, size) in enumerate(sorted(installed.items(), key=lambda item: (-item[1], item[0]))):
        total = sum(sorted(installed.values(), reverse=True)[: index + 1])
        missing = {split: share - filled[split] / total for split, share in zip(_SPLITS, _SPLIT_SHARES, strict=True)}
        split_of[top] = max(missing, key=lambda split: missing[split])
        filled[split_of[top]] += size
    for package, top in sizes:
        if package == "stdlib":
            fraction = int.from_bytes(hashlib.blake2b(top.encode(), digest_size=4).digest(), "big") / 2**32
            split_of[top] = _SPLITS[int(np.searchsorted(np.cumsum(_SPLIT_SHARES[:-1]), fraction, side="right"))]
    return split_of
