"""The end of the text and the beginning of the next one (CoT-MAE's overlap)."""

from __future__ import annotations

from dataclasses import dataclass

from encloze.text.contexts.base import Context, Material, Neighbours, Pairs
from encloze.text.neighbours import Across


@dataclass(frozen=True)
class Overlapping(Context, name="overlapping"):
    """The last quarter to half of the text, from a word start, and then the next span's beginning.

    For the last span of a source it is mirrored: the end of the previous span and the first part of the text. The
    released code takes the last one to half of the sentences; tokens do not tell sentences, so the share is one of
    tokens here, and drawn anew at each access instead of once.
    """

    def pairs(self, material: Material) -> Pairs:
        return Neighbours(material, Across(material.spans))
