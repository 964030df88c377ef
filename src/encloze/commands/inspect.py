"""Look at a corpus before work starts (counts, lengths, duplicates, neighbours), and at encoders on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from encloze import recipe
from encloze.commands.base import Command
from encloze.data.contamination import contamination, judgments_of, queries_of
from encloze.data.corpus import Corpus
from encloze.data.duplicates import group_duplicates
from encloze.data.formats.base import Format
from encloze.data.labels.base import Labels
from encloze.data.positives import positives
from encloze.data.records import Judgment
from encloze.errors import DataError, importable
from encloze.evaluation.inspection import Inspection, Lengths
from encloze.evaluation.panel import Panel
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.model_folders import MINILM, has_minilm, locate
from encloze.storage.provenance import write_provenance
from encloze.systems.base import numbered
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import Tokens

_LIMITS = (64, 128, 256, 512, 1024, 2048, 8192)
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_PAIRS = 500  # that belong together
_CUT = 0.05  # the share of cut texts that the recommended limit may leave


@dataclass(frozen=True)
class Inspect(Command, name="inspect"):
    """Counts, lengths, duplicates and neighbours of a corpus; and a panel of encoders, where any are named.

    A minute or two on a CPU for each small encoder: ``sample`` documents are encoded.
    """

    corpus: Format
    """The documents: a folder or file in any known format, or python_docs."""
    model: tuple[str, ...] = ()
    """Encoders to look at, side by side: model folders, hubs' ids, or minilm. Tokens are the first one's; without any,
    minilm's where it is installed."""
    near_duplicate_threshold: float = 0.8
    """From which Jaccard similarity on texts are near-identical; 1 takes only those that are the same."""
    sample_size: int = 2000
    """So many documents, drawn by the seed, are encoded; 0 encodes none, and then a model is only asked for its
    tokens."""
    pooling: Literal["cls", "mean", "max"] | None = None
    """How an embedding is made of a text; by default as the checkpoint says."""
    neighbors: int = 10
    """How many of the nearest texts count: in hubness, and where they tell a label."""
    labels: Labels | None = None
    """A folder of labelled texts or tagged words, which the encoders' vectors are to tell: by the nearest ones, and by
    a linear probe."""
    split: str = "test"
    """The part of the labels to judge on."""
    queries: tuple[str, ...] = ()
    """Texts, read as queries, whose nearest documents (among those encoded) are shown; a comma parts two, but for those
    in quotation marks inside brackets."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoders' products; auto takes bfloat16 where the processor is made for it."""
    output: Path | None = None
    """A folder for all of it as inspection.json and inspection.md; nothing is written without one."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""
    seed: int = 0
    """Where documents, pairs and intervals are drawn from."""

    def __post_init__(self) -> None:
        if not 0 < self.near_duplicate_threshold <= 1:
            raise ValueError(
                f"near_duplicate_threshold must be above 0 and at most 1, not {self.near_duplicate_threshold}"
            )
        if self.sample_size < 0 or self.sample_size == 1:
            raise ValueError(
                f"sample_size must be 0 (none) or 2 or more, not {self.sample_size}: figures are of several texts"
            )
        if self.neighbors < 1:
            raise ValueError(f"neighbors must be 1 or more, not {self.neighbors}")
        if self.split == "train":
            raise ValueError("split is train, which is learnt from: judge on another part")
        for name in ("labels", "queries"):
            if getattr(self, name) and not (self.model and self.sample_size):
                raise ValueError(f"{name} are shown to encoders: name one with model, and leave sample above 0")
        if not all(text.strip() for text in self.queries):
            raise ValueError("one of the texts is empty")

    def run(self) -> Inspection:
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        for model in self.model:
            locate(model)  # before minutes are spent
        corpus = Corpus.open(self.corpus)
        texts = list(corpus.texts())
        ids = corpus.ids
        words = np.array([len(text.split()) for text in texts])
        lengths = [_lengths("words", words)]
        if (tokenizer := self._tokenizer()) is not None:
            tokens = Tokens.of(iter(texts), len(texts), tokenizer, corpus.fingerprint)
            lengths.append(_lengths("tokens", tokens.lengths + 2))
        sources = Counter(source for source in corpus.column("source").to_pylist() if source is not None)
        near = group_duplicates(texts, self.near_duplicate_threshold)
        judgments = {split: judgments_of(self.corpus, split) for split in self.corpus.splits()}
        found = Inspection(
            place=str(self.corpus.place()),
            documents=len(corpus),
            without_text=[id_ for id_, count in zip(ids, words, strict=True) if not count],
            with_title=sum(bool(title) for title in corpus.column("title").to_pylist()),
            lengths=lengths,
            identical=_groups(ids, group_duplicates(texts, 1.0)),
            near_identical=_groups(ids, near) if self.near_duplicate_threshold < 1 else [],
            sources=len(sources),
            with_neighbours=sum(count for count in sources.values() if count > 1),
            splits={split: len({judgment.query for judgment in of_split}) for split, of_split in judgments.items()},
            contamination=contamination(
                judgments,
                queries_of(self.corpus) if len(judgments) > 1 else {},
                dict(zip(ids, near.tolist(), strict=True)) if len(judgments) > 1 else {},
                self.near_duplicate_threshold,
            ),
            panel=self._panel(corpus, np.flatnonzero(words), judgments) if self.model and self.sample_size else None,
        )
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                found.save(folder)
                write_provenance(folder, recipe.dump(self, {"verb": self.name}), self._inputs())
        return found

    def _panel(self, corpus: Corpus, with_text: np.ndarray, judgments: dict[str, list[Judgment]]) -> Panel:
        if len(with_text) < 2:
            raise DataError(
                f"{self.corpus.place()} has {len(with_text)} documents with text, and an encoder is looked at by how "
                "several lie. Give more, or --sample_size 0 to count tokens only"
            )
        importable("torch", "train")
        importable("transformers", "train")
        from encloze.commands._panel import Look, label_report

        drawn = np.random.default_rng(self.seed).permutation(with_text)[: self.sample_size]
        every = [judgment for of_split in judgments.values() for judgment in of_split]
        pairs = positives(corpus, queries_of(self.corpus) if every else {}, every, _PAIRS, self.seed)
        look = Look(corpus, np.sort(drawn), pairs, self.queries, self.neighbors, self.pooling, self.precision)
        models = dict(zip(numbered(Path(model).name for model in self.model), self.model, strict=True))
        report = label_report(self.labels, self.split, models, look, self.seed) if self.labels else None
        return Panel(
            documents=len(drawn),
            of=len(with_text),
            pairs=f"{len(pairs.firsts):,} pairs of {pairs.kind}" if pairs else None,
            encoders=tuple(look.at(model, name) for name, model in models.items()),
            texts=self.queries,
            labels=report,
        )

    def _inputs(self) -> dict[str, Path | str | None]:
        models = {f"model[{number}]": model for number, model in enumerate(self.model)}
        return {**self.corpus.inputs("corpus"), **models, "labels": self.labels.path if self.labels else None}

    def _tokenizer(self) -> Tokenizer | None:
        name = self.model[0] if self.model else MINILM if has_minilm() else None
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
