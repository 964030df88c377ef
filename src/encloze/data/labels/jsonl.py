"""JSON Lines format: one text with its label, or one list of words with a list of tags, per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from encloze.data.labels.base import LabelFormat
from encloze.data.lines import ErrorCollector, read_json_lines, required_text
from encloze.data.records import LabeledText


@dataclass(frozen=True)
class Jsonl(LabelFormat, name="jsonl"):
    """Files train.jsonl, dev.jsonl and test.jsonl.

    Each line contains a text and its label, or a list of words and a list with one tag per word.
    """

    extension: ClassVar[str] = "jsonl"

    text_field: str = "text"
    """Name of the JSON field that contains the text."""
    label_field: str = "label"
    """Name of the JSON field that contains the label of the text, a string or an integer."""
    words_field: str = "words"
    """Name of the JSON field that contains the list of words. A line without this field must have a text and a
    label."""
    tags_field: str = "tags"
    """Name of the JSON field that contains the list of tags, one tag per word."""

    def examples(self, file: Path, errors: ErrorCollector) -> Iterator[tuple[str, LabeledText]]:
        for location, row in read_json_lines(file, errors):
            if self.words_field in row:
                words, tags = (
                    self._strings(row, setting, location, errors) for setting in ("words_field", "tags_field")
                )
                if words is not None and tags is not None:
                    yield location, LabeledText(" ".join(words), tags, words)
                continue
            text, label = (self._text(row, setting, location, errors) for setting in ("text_field", "label_field"))
            if text is not None and label is not None:
                yield location, LabeledText(text, (label,))

    def _text(self, row: dict[str, Any], setting: str, location: str, errors: ErrorCollector) -> str | None:
        hint = f" Name the field with --dataset.{setting} FIELD"
        return required_text(row, (getattr(self, setting),), location, errors, hint)

    def _strings(
        self, row: dict[str, Any], setting: str, location: str, errors: ErrorCollector
    ) -> tuple[str, ...] | None:
        """Return the list of strings in a field. Record an error and return None if the field is not such a list."""
        name = getattr(self, setting)
        value = row.get(name)
        if isinstance(value, list) and {type(item) for item in value} <= {str, int}:
            return tuple(map(str, value))
        if name in row:
            errors.add(location, f'"{name}" must be a list of strings, found {str(value)[:40]}')
        else:
            self._text(row, setting, location, errors)  # records an error that lists the fields of the row
        return None
