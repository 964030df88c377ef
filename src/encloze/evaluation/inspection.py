"""Results of inspecting a corpus: counts, lengths, duplicates, contamination, and a panel of encoders."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypedDict

from encloze.data.contamination import Contamination
from encloze.escapes import markdown
from encloze.evaluation.panel import Panel, SavedPanel
from encloze.storage.integrity import check_if_result
from encloze.storage.json_files import explain_damage, read_json, write_json
from encloze.tables import Column, Kind, Table, Value, notebook_html

INSPECTION_FILE = "inspection.json"
_NUM_EXAMPLES = 5
_MANY_TOKENS_PER_WORD, _MANY_UNKNOWN_TOKENS = 3, 0.05


@dataclass(frozen=True)
class LengthStatistics:
    """Distribution of the lengths of texts, in words or in tokens."""

    unit: str
    """``words`` or ``tokens``."""
    mean: float
    quantiles: dict[str, int]
    """Length at each quantile; the keys are names of quantiles, such as ``95%``."""
    truncated: dict[int, float]
    """For each of several length limits (the keys), the share of texts that are longer."""
    recommended_limit: int | None = None
    """Smallest limit in ``truncated`` that at most 5 % of the texts exceed; None if there is no such limit."""
    tokenizer: str | None = None
    """Model whose tokenizer counted the tokens; None for lengths in words."""
    tokens_per_word: float | None = None
    """Mean number of tokens of a word, where words are separated by spaces; None for lengths in words."""
    unknown_tokens: float | None = None
    """Share of tokens that are unknown to the tokenizer, in the first 1,000 texts; None for lengths in words."""


class _SavedLengths(TypedDict):
    unit: str
    mean: float | None
    quantiles: dict[str, int]
    truncated: dict[str, float | None]
    recommended_limit: int | None


class _SavedCorpus(TypedDict):
    corpus: str
    documents: int
    without_text: list[str]
    with_title: int
    lengths: list[_SavedLengths]
    duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    sources: int
    with_neighbors: int
    splits: dict[str, int]
    contamination: list[Contamination]


class _SavedInspection(TypedDict):
    corpus: _SavedCorpus
    panel: SavedPanel | None


@dataclass(frozen=True)
class Inspection:
    """Statistics of a corpus and, if encoders were given, of the vectors that they compute for its documents.

    Args:
        corpus: Path or name of the corpus.
        documents: Number of documents.
        without_text: Ids of documents without text.
        with_title: Number of documents with a title.
        lengths: Lengths of the texts in words and, if there is a tokenizer, in tokens.
        duplicates: Groups of ids of documents with the same text, the largest first.
        near_duplicates: Groups of ids of documents with nearly the same text, the largest first.
        sources: Number of longer texts from which the documents were cut.
        with_neighbors: Number of documents that were cut from the same longer text as another document.
        splits: Number of judged queries by split.
        contamination: Overlap of each pair of splits.
        panel: Metrics of the encoders; None if no encoder was given.
        stubs: Ids of documents with less than a tenth of the median number of words.
    """

    corpus: str
    documents: int
    without_text: list[str]
    with_title: int
    lengths: list[LengthStatistics]
    duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    sources: int
    with_neighbors: int
    splits: dict[str, int]
    contamination: list[Contamination]
    panel: Panel | None = None
    stubs: list[str] = field(default_factory=list)

    def count_table(self) -> Table:
        """Return a table with one row for each count, such as the number of documents with a title."""
        rows: list[tuple[str, int]] = [
            ("documents", self.documents),
            ("documents with a title", self.with_title),
            ("documents without text", len(self.without_text)),
            ("documents with duplicates", sum(map(len, self.duplicates))),
            ("groups of duplicates", len(self.duplicates)),
            ("documents with near-duplicates", sum(map(len, self.near_duplicates))),
            ("groups of near-duplicates", len(self.near_duplicates)),
            ("sources", self.sources),
            ("documents with neighbors in their source", self.with_neighbors),
            *((f"judged queries of {split}", count) for split, count in self.splits.items()),
        ]
        return Table(self.corpus, (Column("statistic"), Column("value", Kind.COUNT)), tuple(rows))

    def length_table(self) -> Table:
        """Return a table of text lengths: one row for each unit (words, tokens) with the mean and quantiles."""
        names = list(self.lengths[0].quantiles)
        columns = (Column("unit"), Column("mean", Kind.STATISTIC), *(Column(name, Kind.COUNT) for name in names))
        rows: list[tuple[Value, ...]] = [
            (one.unit, one.mean, *(one.quantiles[name] for name in names)) for one in self.lengths
        ]
        return Table("Lengths of the texts: mean and quantiles", columns, tuple(rows))

    def truncation_table(self) -> Table | None:
        """Return a table with the share of texts that each token limit truncates; None if there was no tokenizer."""
        for one in self.lengths:
            if one.unit == "tokens":
                columns = (Column("maximum tokens", Kind.COUNT), Column("texts truncated", Kind.SHARE))
                return Table("Truncation", columns, tuple(one.truncated.items()))
        return None

    def tables(self) -> list[Table]:
        """Return the tables with statistics of the corpus, without the tables of ``panel``, which compare encoders."""
        tables = (self.count_table(), self.length_table(), self.truncation_table())
        return [table for table in tables if table is not None]

    @property
    def notes(self) -> list[str]:
        """Examples of problematic documents, the recommended token limit, and the overlaps of the splits."""
        notes = []
        if self.without_text:
            notes.append(f"documents without text: {_examples(self.without_text)}")
        if self.stubs:
            notes.append(
                f"{len(self.stubs):,} documents have less than a tenth of the median number of words: "
                f"{_examples(self.stubs)}. BM25 ranks them high if they contain a word of the query: join them to the "
                "documents that follow, or make their texts titles"
            )
        for kind, groups in (("duplicates", self.duplicates), ("near-duplicates", self.near_duplicates)):
            if groups:
                notes.append(f"largest group of {kind}: {_examples(groups[0])}")
        for one in self.lengths:
            if one.unit == "tokens":
                limit = one.recommended_limit
                per_word, unknown = one.tokens_per_word or 0, one.unknown_tokens or 0
                note = f"tokens of {one.tokenizer}: {per_word:.1f} per word, {unknown:.0%} unknown"
                if per_word > _MANY_TOKENS_PER_WORD or unknown > _MANY_UNKNOWN_TOKENS:
                    note += ". A model trained on the language of the texts has fewer (except for languages without "
                    note += "spaces): name it with --model"
                notes.append(note)
                notes.append(
                    f"recommended limit: {limit} tokens, which truncates at most 5 % of the texts"
                    if limit
                    else f"more than 5 % of the texts exceed {max(one.truncated):,} tokens: split them into passages"
                )
        return notes + [overlap.summary() for overlap in self.contamination]

    def to_markdown(self) -> str:
        """Return the tables, the notes and the panel in Markdown."""
        lines = [f"# {markdown(self.corpus)}", ""]
        for table in self.tables():
            lines += [f"{markdown(table.title)}:", "", table.to_markdown(), ""]
        lines += [*(f"- {markdown(note)}" for note in self.notes), ""]
        return "\n".join([*lines, *([self.panel.to_markdown()] if self.panel else [])]).rstrip() + "\n"

    def _repr_html_(self) -> str:
        """Return the HTML that notebooks display."""
        panel = notebook_html(self.panel.tables(), self.panel.notes()) if self.panel else ""
        return notebook_html(self.tables(), self.notes) + panel

    def save(self, folder: Path) -> None:
        """Write the inspection into an existing folder.

        Args:
            folder: Receives ``inspection.json``, ``inspection.md``, and the report on labels if it exists.
        """
        (folder / "inspection.md").write_text(self.to_markdown(), encoding="utf-8")
        excluded = ("panel", "lengths", "contamination")
        corpus = {name: value for name, value in vars(self).items() if name not in excluded}
        corpus["lengths"] = [asdict(lengths) for lengths in self.lengths]
        corpus["contamination"] = [overlap._asdict() for overlap in self.contamination]
        panel = self.panel.to_dict() if self.panel else None
        write_json(folder / INSPECTION_FILE, {"corpus": corpus, "panel": panel})
        if self.panel and self.panel.labels:
            self.panel.labels.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Inspection:
        """Return the inspection that ``save`` wrote, without the report on labels.

        Args:
            folder: Folder with ``inspection.json``.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        check_if_result(folder)
        content = read_json(folder / INSPECTION_FILE, _SavedInspection)
        corpus, panel = content["corpus"], content["panel"]
        with explain_damage(folder / INSPECTION_FILE):
            for lengths in corpus["lengths"]:
                lengths["truncated"] = {int(limit): share for limit, share in lengths["truncated"].items()}
            corpus["lengths"] = [LengthStatistics(**lengths) for lengths in corpus["lengths"]]
            corpus["contamination"] = [Contamination(**overlap) for overlap in corpus["contamination"]]
            return cls(**corpus, panel=Panel.from_dict(panel) if panel else None)


def _examples(ids: list[str]) -> str:
    return ", ".join(ids[:_NUM_EXAMPLES]) + ", ..." * (len(ids) > _NUM_EXAMPLES)
