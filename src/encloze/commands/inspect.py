"""Compute statistics of a corpus, its embeddings and its term weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from encloze import recipe
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.data.contamination import compare_splits, read_judgments, read_queries
from encloze.data.corpus import Corpus
from encloze.data.duplicates import group_duplicates
from encloze.data.formats.base import Format
from encloze.data.labels.base import LabelFormat
from encloze.data.positive_pairs import sample_positive_pairs
from encloze.data.records import Judgment
from encloze.errors import DataError, importable
from encloze.evaluation.inspection import Inspection, LengthStatistics
from encloze.evaluation.panel import Panel
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.model_folders import MINILM, has_minilm, locate
from encloze.storage.provenance import write_provenance
from encloze.systems.base import unique_names
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import TokenizedTexts
from encloze.text.vocabulary_coverage import unknown_token_rate

_LIMITS = (64, 128, 256, 512, 1024, 2048, 8192)
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_MAX_PAIRS = 500
_CHECKED_TEXTS = 1000  # for unknown tokens
_MAX_TRUNCATED = 0.05  # share of truncated texts at the recommended limit


@dataclass(frozen=True)
class Inspect(Command, name="inspect"):
    """Compute statistics of a corpus and, if encoders are named, of the embeddings and term weights of its documents.

    With a small encoder, this takes one or two minutes on a CPU, because only ``sample_size`` documents are encoded.

    Example:
        >>> Inspect(corpus="texts.jsonl", model=["minilm"]).run().panel.table().to_pandas()  # doctest: +SKIP
    """

    corpus: Format
    """Documents: a folder or file in any known format, or python_docs (docstrings of installed packages)."""
    model: tuple[str, ...] = ()
    """Encoders to inspect side by side: model folders, ids on the Hugging Face hub, or minilm. Lengths in tokens are
    counted with the tokenizer of the first encoder. Without an encoder, the tokenizer of minilm is used or, if minilm
    is not installed, lengths are counted in words only."""
    near_duplicate_threshold: float = 0.8
    """Minimum Jaccard similarity of 4-word shingles at which documents count as near-duplicates; 1 finds only identical
    ones."""
    sample_size: int = 2000
    """Number of randomly sampled documents to encode. With 0, no document is encoded, and only the tokenizer of the
    model is used, to count tokens."""
    pooling: Literal["cls", "mean", "max"] | None = None
    """Pooling method of the embeddings. By default the pooling method of each model."""
    neighbors: int = 10
    """Number of nearest neighbors that are used to measure hubness and to predict the labels of texts or words."""
    labels: LabelFormat | None = None
    """Folder of labeled texts or tagged words. The report says how accurately nearest neighbors and a linear probe
    predict the labels from the embeddings."""
    split: str = "test"
    """Split of the labeled data whose labels are predicted and compared with the actual labels."""
    queries: tuple[str, ...] = ()
    """Queries for which the nearest documents are listed. Commas separate queries. If a query contains a comma, write
    the list in brackets and that query in quotation marks."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoders' matrix multiplications; auto uses bfloat16 if the hardware supports it."""
    output: Path | None = None
    """Folder for inspection.json and inspection.md. By default nothing is saved."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""
    seed: Seed = 0
    """Random seed for sampling documents and text pairs, and for the bootstrap intervals."""

    def __post_init__(self) -> None:
        threshold = self.near_duplicate_threshold
        if not 0 < threshold <= 1:
            raise ValueError(f"near_duplicate_threshold must be above 0 and at most 1, not {threshold}")
        if self.sample_size < 0 or self.sample_size == 1:
            raise ValueError(f"sample_size must be 0 or at least 2, not {self.sample_size}")
        if self.neighbors < 1:
            raise ValueError(f"neighbors must be 1 or more, not {self.neighbors}")
        if self.split == "train":
            raise ValueError(
                "split cannot be train, because the classifiers of labels are trained on it. Choose another split"
            )
        for name in ("labels", "queries"):
            if getattr(self, name) and not (self.model and self.sample_size):
                raise ValueError(f"{name} needs an encoder. Set model, and sample_size above 0")
        if not all(query.strip() for query in self.queries):
            raise ValueError("one of the queries is empty. Remove it")

    @locks_output
    def run(self) -> Inspection:
        """Compute the statistics of the corpus and, if encoders are named, of their embeddings and term weights.

        Returns:
            The statistics of the corpus and, if encoders are named, of the output of each encoder.

        Raises:
            DataError: The corpus is missing or damaged, or encoders are named and fewer than two documents have text.
            CheckpointError: A model is missing or damaged.
            MissingExtraError: Encoders are named and torch is not installed.
            StorageError: The output folder exists, and ``overwrite`` is false.
        """
        if self.output:
            refuse_existing(self.output, overwrite=self.overwrite)
        for model in self.model:
            locate(model)  # raises an error before the corpus is read
        inspection = self._inspect(Corpus.from_format(self.corpus))
        if self.output:
            with atomic_folder(self.output, overwrite=self.overwrite) as folder:
                inspection.save(folder)
                write_provenance(folder, recipe.dump(self, {"verb": self.name}), self._inputs())
        return inspection

    def _inspect(self, corpus: Corpus) -> Inspection:
        texts, ids = list(corpus.texts()), corpus.ids
        word_counts = np.array([len(text.split()) for text in texts])
        sources = Counter(source for source in corpus.column("source").to_pylist() if source is not None)
        near_duplicates = group_duplicates(texts, self.near_duplicate_threshold)
        judgments = {split: read_judgments(self.corpus, split) for split in self.corpus.splits()}
        stub_limit = np.median(word_counts) / 10
        has_panel, has_splits = bool(self.model and self.sample_size), len(judgments) > 1
        return Inspection(
            corpus=str(self.corpus.location()),
            documents=len(corpus),
            stubs=[id_ for id_, count in zip(ids, word_counts, strict=True) if 0 < count < stub_limit],
            without_text=[id_ for id_, count in zip(ids, word_counts, strict=True) if not count],
            with_title=sum(bool(title) for title in corpus.column("title").to_pylist()),
            lengths=self._lengths(corpus, texts, word_counts),
            duplicates=_groups(ids, group_duplicates(texts, 1.0)),
            near_duplicates=_groups(ids, near_duplicates) if self.near_duplicate_threshold < 1 else [],
            sources=len(sources),
            with_neighbors=sum(count for count in sources.values() if count > 1),
            splits={split: len({judgment.query for judgment in of_split}) for split, of_split in judgments.items()},
            contamination=compare_splits(
                judgments,
                read_queries(self.corpus) if has_splits else {},
                dict(zip(ids, near_duplicates.tolist(), strict=True)) if has_splits else {},
                self.near_duplicate_threshold,
            ),
            panel=self._panel(corpus, np.flatnonzero(word_counts), judgments) if has_panel else None,
        )

    def _lengths(self, corpus: Corpus, texts: list[str], word_counts: np.ndarray) -> list[LengthStatistics]:
        """Return statistics of the lengths of the texts in words and, if there is a tokenizer, in tokens.

        Lengths in tokens include the special tokens of each text.
        """
        lengths = [_length_statistics("words", word_counts)]
        name = self.model[0] if self.model else MINILM if has_minilm() else None
        if name:
            tokenizer = Tokenizer.load(locate(name))
            tokens = TokenizedTexts.from_texts(iter(texts), len(texts), tokenizer, corpus.fingerprint)
            lengths.append(
                replace(
                    _length_statistics("tokens", tokens.lengths + tokenizer.num_special_tokens),
                    tokenizer=name,
                    tokens_per_word=float(tokens.lengths.sum() / max(1, word_counts.sum())),
                    unknown_tokens=unknown_token_rate(tokenizer, texts[:_CHECKED_TEXTS]),
                )
            )
        return lengths

    def _panel(self, corpus: Corpus, with_text: np.ndarray, judgments: dict[str, list[Judgment]]) -> Panel:
        if len(with_text) < 2:
            raise DataError(
                f"{self.corpus.location()} has {len(with_text)} documents with text, but inspecting encoders needs "
                "at least two. Add documents, or set --sample_size 0 to count tokens without encoding documents"
            )
        importable("torch", "train")
        importable("transformers", "train")
        from encloze.commands._panel import PanelInputs, label_report

        sample = np.sort(np.random.default_rng(self.seed).permutation(with_text)[: self.sample_size])
        all_judgments = [judgment for of_split in judgments.values() for judgment in of_split]
        queries = read_queries(self.corpus) if all_judgments else {}
        pairs = sample_positive_pairs(corpus, queries, all_judgments, _MAX_PAIRS, self.seed)
        inputs = PanelInputs(corpus, sample, pairs, self.queries, self.neighbors, self.pooling, self.precision)
        models = dict(zip(unique_names(Path(model).name for model in self.model), self.model, strict=True))
        labels = label_report(self.labels, self.split, models, inputs, self.seed) if self.labels else None
        return Panel(
            num_documents=len(sample),
            num_available=len(with_text),
            pairs=f"{len(pairs.first_texts):,} pairs of {pairs.kind}" if pairs else None,
            encoders=tuple(inputs.encoder_metrics(model, name) for name, model in models.items()),
            queries=self.queries,
            labels=labels,
        )

    def _inputs(self) -> dict[str, Path | str | None]:
        models = {f"model[{number}]": model for number, model in enumerate(self.model)}
        return {**self.corpus.inputs("corpus"), **models, "labels": self.labels.path if self.labels else None}


def _length_statistics(unit: str, lengths: np.ndarray) -> LengthStatistics:
    truncated = {limit: float(np.mean(lengths > limit)) for limit in _LIMITS}
    quantiles = {f"{quantile:.0%}": int(np.quantile(lengths, quantile)) for quantile in _QUANTILES}
    fitting = [limit for limit in _LIMITS if truncated[limit] <= _MAX_TRUNCATED]
    return LengthStatistics(unit, float(lengths.mean()), quantiles, truncated, fitting[0] if fitting else None)


def _groups(ids: Iterable[str], groups: np.ndarray) -> list[list[str]]:
    """Return the document ids of each group of duplicates (two or more documents), the largest group first."""
    members: dict[int, list[str]] = {}
    for id_, group in zip(ids, groups.tolist(), strict=True):
        members.setdefault(group, []).append(id_)
    return sorted((group for group in members.values() if len(group) > 1), key=len, reverse=True)
