"""Look at a corpus before work starts: counts, lengths, duplicates, neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from encloze.data.contamination import Contamination, contamination
from encloze.data.corpus import Corpus
from encloze.data.duplicates import group_duplicates
from encloze.data.formats.base import Format
from encloze.data.lines import Faults
from encloze.data.records import Judgment
from encloze.model_folders import MINILM, has_minilm, locate
from encloze.tasks.base import Task
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import Tokens

_LIMITS = (64, 128, 256, 512, 1024, 2048, 8192)
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_CUT = 0.05  # the share of cut texts that the recommended limit may leave


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


@dataclass(frozen=True)
class Inspect(Task, name="inspect"):
    """Counts, lengths with the share that each limit cuts, duplicates, and which documents have neighbours."""

    corpus: Format
    """The documents: a folder or file in any known format, or python_docs."""
    model: str | None = None
    """Whose tokens to count: a model folder, a hub's id, or minilm (taken by default where it is installed)."""
    similarity: float = 0.8
    """From which Jaccard similarity on texts are near-identical; 1 takes only those that are the same."""

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1:
            raise ValueError(f"similarity must be above 0 and at most 1, not {self.similarity}")

    def run(self) -> Inspection:
        corpus = Corpus.open(self.corpus)
        texts = list(corpus.texts())
        ids = corpus.ids
        words = np.array([len(text.split()) for text in texts])
        lengths = [_lengths("words", words)]
        if (tokenizer := self._tokenizer()) is not None:
            tokens = Tokens.of(iter(texts), len(texts), tokenizer, corpus.fingerprint)
            lengths.append(_lengths("tokens", tokens.lengths + 2))
        sources = Counter(source for source in corpus.column("source").to_pylist() if source is not None)
        near = group_duplicates(texts, self.similarity)
        judgments = {split: self._judgments(split) for split in self.corpus.splits()}
        return Inspection(
            place=str(self.corpus.place()),
            documents=len(corpus),
            without_text=[id_ for id_, count in zip(ids, words, strict=True) if not count],
            with_title=sum(bool(title) for title in corpus.column("title").to_pylist()),
            lengths=lengths,
            identical=_groups(ids, group_duplicates(texts, 1.0)),
            near_identical=_groups(ids, near) if self.similarity < 1 else [],
            sources=len(sources),
            with_neighbours=sum(count for count in sources.values() if count > 1),
            splits={split: len({judgment.query for judgment in of_split}) for split, of_split in judgments.items()},
            contamination=contamination(
                judgments,
                self._queries() if len(judgments) > 1 else {},
                dict(zip(ids, near.tolist(), strict=True)) if len(judgments) > 1 else {},
                self.similarity,
            ),
        )

    def _judgments(self, split: str) -> list[Judgment]:
        faults = Faults()
        judgments = list(self.corpus.judgments(split, faults))
        faults.stop()
        return judgments

    def _queries(self) -> dict[str, str]:
        faults = Faults()
        queries = {query.id: query.text for query in self.corpus.queries(faults)}
        faults.stop()
        return queries

    def _tokenizer(self) -> Tokenizer | None:
        name = self.model or (MINILM if has_minilm() else None)
        return Tokenizer.load(locate(name)) if name else None


def _lengths(unit: str, lengths: np.ndarray) -> Lengths:
    cut = {limit: float(np.mean(lengths > limit)) for limit in _LIMITS}
    quantiles = {f"{share:.0%}": int(np.quantile(lengths, share)) for share in _SHARES}
    fitting = [limit for limit in _LIMITS if cut[limit] <= _CUT]
    return Lengths(unit, float(lengths.mean()), quantiles, cut, fitting[0] if fitting else None)


def _groups(ids: Iterable[str], groups: np.ndarray) -> list[list[str]]:
    """The ids of each group of two or more, the largest group first."""
    members: dict[int, list[str]] = {}
    for id_, group in zip(ids, groups.tolist(), strict=True):
        members.setdefault(group, []).append(id_)
    return sorted((group for group in members.values() if len(group) > 1), key=len, reverse=True)
