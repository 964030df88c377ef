"""What a corpus is like, and how encoders lay it out."""

from __future__ import annotations

from pathlib import Path

from encloze.evaluation.inspection import Inspection
from encloze.evaluation.panel import line_of
from encloze.evaluation.report import quoted
from encloze.reporting.blocks import Block, Listing, Section, Table
from encloze.reporting.made import Made


def inspected(made: Made, with_texts: bool) -> Section:
    """The section of an inspection."""
    found = Inspection.load(made.folder)
    blocks: list[Block] = [Listing("The texts", [line for lines in found.paragraphs() for line in lines])]
    if found.panel:
        blocks += [
            Table(found.panel.title(), found.panel.rows()),
            Listing("The encoders", found.panel.notes(with_words=with_texts)),
        ]
        for number, text in enumerate(found.panel.texts if with_texts else ()):
            for encoder in found.panel.encoders:
                lines = [f"{rank}. {line_of(near)}" for rank, near in enumerate(encoder.near[number], 1)]
                blocks.append(Listing(f"Near to {quoted(text)}, by {encoder.name}", lines))
    return Section(f"{made.name}: what {Path(found.place).name} is like", blocks)
