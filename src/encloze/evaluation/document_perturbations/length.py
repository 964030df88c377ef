"""Long documents: what is relevant stands at their beginning."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.evaluation.document_perturbations._other_text import WithOthers


@dataclass(frozen=True)
class Length(WithOthers, name="length"):
    """Text of other documents comes after that of every relevant one."""

    def joined(self, own: str, lent: str) -> str:
        return f"{own}\n{lent}"
