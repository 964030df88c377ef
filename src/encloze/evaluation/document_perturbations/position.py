"""Answers that stand late: other text comes before what is relevant."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.document_perturbations._other_text import WithOthers


@dataclass(frozen=True)
class Position(WithOthers, name="position"):
    """Text of other documents comes before that of every relevant one, behind its title."""

    def joined(self, own: str, lent: str) -> str:
        return f"{lent}\n{own}"
