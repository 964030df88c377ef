"""Base class of label formats. Each reads a folder of labeled texts or tagged words, with one file per split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from encloze.data.lines import ErrorCollector, find_file
from encloze.data.records import LabeledText
from encloze.errors import DataError
from encloze.family import Family

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class LabelFormat(Family):
    """Base class of formats of labeled texts and of tagged words.

    In a recipe and on the command line, a path without the name of a format selects the format by the extension of the
    files in the folder. A subclass sets ``extension`` and implements ``examples``.

    Example:
        >>> from encloze.data.labels.tsv import Tsv
        >>> Tsv(Path("my_labels")).extension
        'tsv'
    """

    extension: ClassVar[str]
    """Extension of the files of this format, without the dot. Each split is in the file ``SPLIT.extension``."""

    path: Path
    """Folder of the labeled data set."""

    def examples(self, file: Path, errors: ErrorCollector) -> Iterator[tuple[str, LabeledText]]:
        """Read the examples of a file.

        Args:
            file: File of one split, plain or gzipped.
            errors: Receives an error for each malformed example.

        Yields:
            The location of each example and the example, in order.
        """
        raise NotImplementedError(type(self).__name__)

    def has_split(self, split: str) -> bool:
        """Return whether the folder has a file for the split."""
        return find_file(self.path, f"{split}.{self.extension}") is not None

    def read(self, split: str) -> list[LabeledText]:
        """Read all examples of a split.

        Args:
            split: Name of the split.

        Raises:
            DataError: The file is missing or empty, or examples are malformed. The error lists all of them.
        """
        file = find_file(self.path, f"{split}.{self.extension}")
        if file is None:
            names = ", ".join(f"{name}.{self.extension}" for name in SPLITS)
            raise DataError(
                f"{self.path} has no {split}.{self.extension} (the folder contains {_listing(self.path)}). Write each "
                f"split to its own file, plain or .gz: {names}"
            )
        errors, examples = ErrorCollector(), list[LabeledText]()
        for location, example in self.examples(file, errors):
            if message := _find_error(example, examples[0] if examples else example):
                errors.add(location, message)
            examples.append(example)
        errors.raise_if_any()
        if not examples:
            raise DataError(f"{file}: the file is empty")
        return examples

    @classmethod
    def resolve_member(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Return the class and the settings of the format that a recipe or the command line selects.

        If ``type_`` is the name of a format, that format is used. Otherwise ``type_`` or ``values["path"]`` is the path
        of a folder, and the format is found by the extension of the files in this folder.
        """
        is_named = type_ in cls.members() and "path" in values
        if is_named or (type_ is None and "path" not in values):
            return super().resolve_member(type_, values)
        path = Path(str(values["path"] if type_ is None else type_))
        found = [
            member
            for member in map(cls.member, cls.members())
            if any(find_file(path, f"{split}.{member.extension}") for split in SPLITS)
        ]
        if len(found) > 1:
            names = ", ".join(f".{member.extension}" for member in found)
            raise ValueError(f"{path} has files of several formats ({names}). Remove all but one, or set type")
        if found:
            return found[0], {**values, "path": path}
        content = f"the folder contains {_listing(path)}" if path.is_dir() else "there is no such folder"
        extensions = ", ".join(f".{cls.member(name).extension}" for name in cls.members())
        raise ValueError(
            f"{path} is not a folder of labeled texts ({content}). Give a folder with files named train, dev and test "
            f"with one of the extensions {extensions}, plain or .gz"
        )


def _find_error(example: LabeledText, first: LabeledText) -> str | None:
    """Return what is wrong with an example; None if it is valid.

    ``first`` is the first example of the file. If it has tagged words, all examples must have tagged words; if it has a
    labeled text, all examples must have labeled texts.
    """
    if (example.words is None) != (first.words is None):
        expected, actual = ("texts", "words") if example.words else ("words", "texts")
        return f"labels of {actual} in a file with labels of {expected}"
    if not example.text.strip():
        return "the text is empty"
    if example.words is not None and len(example.words) != len(example.labels):
        return f"{len(example.words)} words have {len(example.labels)} tags"
    if not all(word.strip() for word in example.words or ()):
        return f"word {next(n for n, word in enumerate(example.words or (), 1) if not word.strip())} is empty"
    return None if all(label.strip() for label in example.labels) else "a label is empty"


def _listing(path: Path) -> str:
    """Return the names of up to eight files and folders in ``path``, for messages."""
    return ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
