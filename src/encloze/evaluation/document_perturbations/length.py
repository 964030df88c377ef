"""Longer documents: the text of irrelevant documents is appended to relevant documents."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.document_perturbations._other_text import OtherText


@dataclass(frozen=True)
class Length(OtherText, name="length"):
    """Append the text of irrelevant documents to every relevant document."""

    def combine(self, text: str, added: str) -> str:
        return f"{text}\n{added}"
