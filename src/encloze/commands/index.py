"""Build one or several search indexes of a collection: dense, sparse or BM25."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from encloze import recipe
from encloze.commands._execution import encode_ahead
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.encoders.base import load_encoder
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.retrieval.arguments import check_fusion_choice
from encloze.retrieval.engine_building import IndexTarget
from encloze.retrieval.index_building import exact_indexes
from encloze.retrieval.index_writing import write_index
from encloze.retrieval.tuning_queries import named_tuning
from encloze.search.engines.base import Engine
from encloze.search.fusions.base import Fusion
from encloze.search.indexes.base import Index as SearchIndex
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance


@dataclass(frozen=True)
class IndexingResult:
    """Result of ``index``: the folder that was written, and what it contains.

    Attributes:
        folder: Folder that was written.
        documents: Number of indexed documents.
        views: One dictionary for each index in the folder: its name, its settings and, if a model built it, the name,
            fingerprint and output dimensions of this model.
    """

    folder: Path
    documents: int
    views: list[dict[str, Any]]


@dataclass(frozen=True)
class Index(Command, name="index"):
    """Build an index of a collection. The output folder contains all that the command search needs, except the model.

    Example:
        >>> Index(corpus="my_texts", model="minilm", indexes=["flat", "bm25"], output="index").run()
    """

    output: Path
    """Index folder to write. The command search reads it."""
    corpus: Format | None = None
    """Documents to index: a file or folder in any known format, or python_docs (docstrings of installed packages)."""
    dataset: Format | None = None
    """Data set whose documents are indexed. Set either corpus or dataset."""
    model: str | None = None
    """Encoder that computes the embeddings or term weights to index: a model folder, a Hugging Face hub id, or minilm.
    BM25 needs none."""
    vectors: Path | None = None
    """Embeddings or term weights of the documents that the model has computed before: a folder that encloze encode
    wrote, or a .npy, .fvecs, .parquet or .jsonl file, in the order of the documents. By default they are computed."""
    indexes: tuple[SearchIndex, ...] = ()
    """Indexes to build, such as flat,inverted,bm25. A search combines the scores of all indexes in the folder. By
    default, one index is built for each kind of output of the model: flat for embeddings (hnsw, which is approximate,
    from 200,000 documents on), inverted for term weights."""
    engine: Engine | None = None
    """Search engine that stores and searches the documents, such as milvus; the index folder then contains only what
    belongs to the models. By default the folder contains everything."""
    fusion: Fusion | None = None
    """How searches combine the scores of several indexes. By default by a weighted sum of normalized scores, with
    weights that are tuned on the split tune_on."""
    tune_on: str | None = None
    """Split of the data set on which the weights of several indexes are tuned by nDCG@10; by default dev or validation.
    Without such a split, the weights are equal, except that an index which rarely finds the document that a snippet of
    text was taken from gets the weight 0."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's matrix multiplications; auto uses bfloat16 if the hardware supports it."""
    execution: Executor = field(default_factory=Local)
    """Where the documents are encoded: in this process (local), in several (processes), by tasks of a launcher
    (torchrun, slurm) or on a Ray cluster (ray)."""
    seed: Seed = 0
    """Random seed, a setting of every command. It has no effect here, because building an index is deterministic."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    def __post_init__(self) -> None:
        if (self.corpus is None) == (self.dataset is None):
            raise ValueError("give either a corpus or a dataset")
        if self.tune_on and (self.dataset is None or self.fusion):
            raise ValueError("tune_on needs a dataset, and no fusion, because it tunes the weights of the fusion")
        if not self.indexes and self.model is None:
            raise ValueError("give a model, or indexes that need none, as in --indexes bm25")
        if self.vectors and self.model is None:
            raise ValueError("vectors needs the model that computed them, because it encodes the queries")
        if self.engine:
            self.engine.check_indexes(self.indexes)
        needing = [index.name for index in self.indexes if index.input_type != "text"]
        if needing and self.model is None:
            raise ValueError(f"model is required: a model computes what the index {needing[0]} is built from")

    @locks_output
    def run(self) -> IndexingResult:
        if self.execution.writes_output:
            refuse_existing(self.output, overwrite=self.overwrite)
        source = self.corpus or self.dataset
        assert source is not None  # checked above
        corpus = Corpus.from_format(source)
        encoder = load_encoder(self.model, self.precision) if self.model else None
        dataset, tuning = None, None
        if self.dataset:
            dataset = DatasetSplit(self.dataset, "test")  # the split on which an index is usually evaluated
            dataset.corpus = corpus
            tuning = named_tuning(dataset, self.tune_on) if self.tune_on else None
        views_count = len(self.indexes or (exact_indexes(encoder) if encoder else ()))
        check_fusion_choice(self.fusion, tuning, views_count, "the index")
        needs_encoder = not self.indexes or any(index.input_type != "text" for index in self.indexes)
        if encoder and needs_encoder and not self.vectors:
            encode_ahead(encoder, corpus, self.execution)
        if not self.execution.writes_output:
            return IndexingResult(self.output, len(corpus), [])
        with atomic_folder(self.output, overwrite=self.overwrite) as folder:
            target = IndexTarget(self.engine, self.output, self.overwrite)
            views = write_index(
                folder, corpus, self.indexes, encoder, self.fusion, tuning, dataset, self.vectors, target
            )
            inputs = {**source.inputs("corpus"), "model": self.model, "vectors": self.vectors}
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return IndexingResult(self.output, len(corpus), views)
