"""Later answers: the text of irrelevant documents is inserted before the text of relevant documents."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.document_perturbations._other_text import OtherText


@dataclass(frozen=True)
class Position(OtherText, name="position"):
    """Insert the text of irrelevant documents between the title and the text of every relevant document."""

    def combine(self, text: str, added: str) -> str:
        return f"{added}\n{text}"
