"""Section of a report on an inspection: statistics of a corpus, and of the embeddings and term weights of its texts."""

from __future__ import annotations

from pathlib import Path

from encloze.evaluation.inspection import Inspection
from encloze.reporting.blocks import Block, BulletList, Section
from encloze.reporting.result_folders import ResultFolder
from encloze.tables import quote


def inspection_section(result: ResultFolder, *, include_texts: bool) -> Section:
    """Return the section of a report on a folder that ``encloze inspect`` wrote.

    Sample queries and the documents nearest to them are shown only if ``include_texts`` is true.
    """
    inspection = Inspection.load(result.path)
    blocks: list[Block] = [*inspection.tables()]
    if inspection.notes:
        blocks.append(BulletList("Notes", inspection.notes))
    if panel := inspection.panel:
        blocks += [*panel.tables(), BulletList("Encoders", panel.notes(with_terms=include_texts))]
        for number, query in enumerate(panel.queries if include_texts else ()):
            for encoder in panel.encoders:
                nearest = [f"{rank}. {document.summary()}" for rank, document in enumerate(encoder.nearest[number], 1)]
                blocks.append(BulletList(f"Nearest documents to {quote(query)}, {encoder.name}", nearest))
    return Section(f"{result.name}: inspection of {Path(inspection.corpus).name}", blocks)
