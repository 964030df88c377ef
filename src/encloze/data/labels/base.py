"""Labels: a folder of train, dev and test files whose texts, or words, have labels, and how these are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from encloze.data.lines import Faults, present
from encloze.data.records import Labelled
from encloze.errors import DataError
from encloze.family import Family

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Labels(Family):
    """Labelled texts in a folder; a bare path in a recipe or flag is looked at and recognised by its files' ending."""

    ending: ClassVar[str]
    """What follows the name of a split in the name of its file."""

    path: Path
    """The folder."""

    def examples(self, file: Path, faults: Faults) -> Iterator[tuple[str, Labelled]]:
        """The labelled texts of a file with their places, in order; malformed ones become faults."""
        raise NotImplementedError(type(self).__name__)

    def has(self, split: str) -> bool:
        """Whether there is a file for the split."""
        return present(self.path, f"{split}.{self.ending}") is not None

    def read(self, split: str) -> list[Labelled]:
        """The labelled texts of a split. Raises DataError where there are none, or for all that is wrong with them."""
        file = present(self.path, f"{split}.{self.ending}")
        if file is None:
            raise DataError(
                f"{self.path} has no {split}.{self.ending} (it holds {_inside(self.path)}). "
                f"A split is a file of its own, plain or .gz: {', '.join(f'{name}.{self.ending}' for name in SPLITS)}"
            )
        faults, found = Faults(), list[Labelled]()
        for where, example in self.examples(file, faults):
            if fault := _fault(example, found[0] if found else example):
                faults.add(where, fault)
            found.append(example)
        faults.stop()
        if not found:
            raise DataError(f"{file}: the file is empty")
        return found

    @classmethod
    def chosen(cls, type_: object, values: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """A member by name, or whichever the files of the folder that stands in its place end like."""
        if type_ in cls.members() and "path" in values:
            return super().chosen(type_, values)
        if type_ is None and "path" not in values:
            return super().chosen(type_, values)
        path = Path(str(values["path"] if type_ is None else type_))
        for member in map(cls.member, cls.members()):
            if any(present(path, f"{split}.{member.ending}") for split in SPLITS):
                return member, {**values, "path": path}
        held = f"it holds {_inside(path)}" if path.is_dir() else "there is no such folder"
        endings = ", ".join(f".{cls.member(name).ending}" for name in cls.members())
        raise ValueError(
            f"{path} is no folder of labelled texts ({held}). Known are folders with files train, dev and test that "
            f"end in {endings}, plain or .gz"
        )


def _fault(example: Labelled, first: Labelled) -> str | None:
    """What is wrong with an example that can be read; ``first`` is one that it should be like."""
    if (example.words is None) != (first.words is None):
        return "words have tags here, and texts have labels before" if example.words else "no words with tags here"
    if not example.text.strip():
        return "the text is empty"
    if example.words is not None and len(example.words) != len(example.labels):
        return f"{len(example.words)} words have {len(example.labels)} tags"
    if not all(word.strip() for word in example.words or ()):
        return f"word {next(n for n, word in enumerate(example.words or (), 1) if not word.strip())} is empty"
    return None if all(label.strip() for label in example.labels) else "a label is empty"


def _inside(path: Path) -> str:
    return ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
