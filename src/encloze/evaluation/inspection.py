"""What is to be known of a corpus, and of encoders on it, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from encloze.data.contamination import Contamination
from encloze.evaluation.panel import Panel
from encloze.storage.json_files import read_json, write_json

INSPECTION = "inspection.json"


@dataclass(frozen=True)
class Lengths:
    """How long texts are, in one unit."""

    unit: str
    mean: float
    quantiles: dict[str, int]
    cut: dict[int, float]
    """The share of texts above each limit."""
    recommended: int | None = None
    """The smallest limit that cuts at most 5 % of the texts."""


@dataclass(frozen=True)
class Inspection:
    """What is to be known of a corpus."""

    place: str
    documents: int
    without_text: list[str]
    with_title: int
    lengths: list[Lengths]
    identical: list[list[str]]
    """Groups of documents with the same text, the largest first."""
    near_identical: list[list[str]]
    """Groups of documents with nearly the same text."""
    sources: int
    """Longer texts that documents were cut from."""
    with_neighbours: int
    """Documents that share their source with another one."""
    splits: dict[str, int]
    """Judged queries of each split."""
    contamination: list[Contamination]
    """What every two splits have in common."""
    panel: Panel | None = None
    """The encoders, where any were named."""

    def paragraphs(self) -> list[list[str]]:
        """The corpus in words."""
        counts = [f"{self.place}: {self.documents:,} documents, {self.with_title:,} with a title"]
        if self.without_text:
            counts.append(f"{len(self.without_text):,} have no text: {', '.join(self.without_text[:5])}")
        alike = [
            _alike(kind, groups)
            for kind, groups in (("the same", self.identical), ("nearly the same", self.near_identical))
        ]
        rest = [f"{self.with_neighbours:,} documents have neighbours, in {self.sources:,} longer texts"]
        if self.splits:
            rest.append("Judged queries: " + ", ".join(f"{split} {count:,}" for split, count in self.splits.items()))
        return [counts, *map(_measured, self.lengths), *alike, [*rest, *(found.told() for found in self.contamination)]]

    def markdown(self) -> str:
        lines = [f"# {self.place}", ""]
        for paragraph in self.paragraphs():
            lines += [*(f"- {line}" for line in paragraph), ""]
        return "\n".join([*lines, *(self.panel.markdown() if self.panel else [])]).rstrip() + "\n"

    def save(self, folder: Path) -> None:
        """Write inspection.json and inspection.md, and beside them the report on labels where there is one."""
        (folder / "inspection.md").write_text(self.markdown(), encoding="utf-8")
        corpus = {
            name: value for name, value in vars(self).items() if name not in ("panel", "lengths", "contamination")
        }
        corpus["lengths"] = [asdict(lengths) for lengths in self.lengths]
        corpus["contamination"] = [found._asdict() for found in self.contamination]
        panel = self.panel.values() if self.panel else None
        write_json(folder / INSPECTION, {"corpus": corpus, "panel": panel})
        if self.panel and self.panel.labels:
            self.panel.labels.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Inspection:
        """What was saved there, without what it says of labels. Raises CheckpointError."""
        held = read_json(folder / INSPECTION)
        corpus, panel = held["corpus"], held["panel"]
        for lengths in corpus["lengths"]:
            lengths["cut"] = {int(limit): share for limit, share in lengths["cut"].items()}
        corpus["lengths"] = [Lengths(**lengths) for lengths in corpus["lengths"]]
        corpus["contamination"] = [Contamination(**found) for found in corpus["contamination"]]
        return cls(**corpus, panel=Panel.read(panel) if panel else None)


def _measured(lengths: Lengths) -> list[str]:
    quantiles = ", ".join(f"{share} {length:,}" for share, length in lengths.quantiles.items())
    said = [f"{lengths.unit.capitalize()}: {lengths.mean:.1f} on average; {quantiles}"]
    if lengths.unit == "tokens":
        said.append("Cut: " + ", ".join(f"{share:.1%} at {limit}" for limit, share in lengths.cut.items()))
        best = lengths.recommended
        said.append(
            f"Recommended limit: {best} tokens" if best else "Split the texts: more than 5 % are longer than 8192"
        )
    return said


def _alike(kind: str, groups: list[list[str]]) -> list[str]:
    largest = f"; the largest group: {', '.join(groups[0][:4])}" if groups else ""
    texts = sum(map(len, groups))
    return [f"{texts:,} documents have {kind} text as others, in {len(groups):,} groups{largest}"]
