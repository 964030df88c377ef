"""JSON lines, each a text with its label or a list of words with a list of their tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from encloze.data.labels.base import Labels
from encloze.data.lines import Faults, field_of, json_objects
from encloze.data.records import Labelled


@dataclass(frozen=True)
class Jsonl(Labels, name="jsonl"):
    """Files train.jsonl, dev.jsonl and test.jsonl of texts with labels, or of words with tags."""

    ending: ClassVar[str] = "jsonl"

    text_field: str = "text"
    """The field that holds the text."""
    label_field: str = "label"
    """The field that holds the text's label: text, or a whole number."""
    words_field: str = "words"
    """The field that holds a list of words, where these are labelled."""
    tags_field: str = "tags"
    """The field that holds a tag for each of the words."""

    def examples(self, file: Path, faults: Faults) -> Iterator[tuple[str, Labelled]]:
        for where, value in json_objects(file, faults):
            if self.words_field in value:
                words, tags = (self._list(value, name, where, faults) for name in ("words_field", "tags_field"))
                if words is not None and tags is not None:
                    yield where, Labelled(" ".join(words), tags, words)
                continue
            text, label = (self._text(value, name, where, faults) for name in ("text_field", "label_field"))
            if text is not None and label is not None:
                yield where, Labelled(text, (label,))

    def _text(self, value: dict[str, Any], setting: str, where: str, faults: Faults) -> str | None:
        return field_of(value, (getattr(self, setting),), where, faults, f" Map it with --dataset.{setting} FIELD")

    def _list(self, value: dict[str, Any], setting: str, where: str, faults: Faults) -> tuple[str, ...] | None:
        name = getattr(self, setting)
        found = value.get(name)
        if isinstance(found, list) and {type(item) for item in found} <= {str, int}:
            return tuple(map(str, found))
        if name in value:
            faults.add(where, f'"{name}" should be a list of texts, found {str(found)[:40]}')
        else:
            self._text(value, setting, where, faults)  # says what there is instead
        return None
