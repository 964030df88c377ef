"""Measure a model for a minute, and predict what larger collections cost."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from encloze import progress, recipe
from encloze.commands._output_lock import locks_output
from encloze.commands._plan_encoding import EncodingTrial
from encloze.commands._plan_indexes import IndexTrials
from encloze.commands.base import Command
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.data.records import Representation, full_text
from encloze.encoders.base import Encoder, load_encoder
from encloze.errors import DataError, RecipeError
from encloze.exports._certificate import machine
from encloze.retrieval.collection_costs import CollectionModel, EncodingSpeed, Limits
from encloze.retrieval.collection_plan import CollectionPlan
from encloze.retrieval.cost_models import IndexModel
from encloze.retrieval.tuning import snippet
from encloze.search.indexes.base import Index
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.hnsw import Hnsw
from encloze.search.indexes.inverted import Inverted
from encloze.search.indexes.ivf import Ivf
from encloze.settings import PositiveFloat, PositiveInt, Range, Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.disk import explain_write_errors
from encloze.storage.provenance import write_provenance
from encloze.text.encoding import WINDOW

_MIN_DOCUMENTS = 20
_MAX_SAMPLE = 20_000
_QUERIES = 50
_ENCODING_SHARE = 0.4  # of the time
_CGROUP = Path("/sys/fs/cgroup/memory.max")

NumDocuments = Annotated[int, Range(ge=1, le=10**9)]


@dataclass(frozen=True)
class Plan(Command, name="plan"):
    """Measure a model for a minute, and predict what larger collections cost.

    A sample of the documents is encoded, and small indexes of its vectors are built and searched. From these
    measurements the time of encoding and of building indexes, their size, memory and latency, and the number of
    machines are predicted, and an index is recommended.

    Example:
        >>> plan = Plan(corpus="my_texts", documents=[100_000, 1_000_000], model="minilm").run()
        >>> print(plan.costs[0].reason)
    """

    corpus: Format
    """Documents like those of the collection, from which the sample is taken: at least 20, better some thousand."""
    documents: tuple[NumDocuments, ...]
    """Numbers of documents for which costs are predicted, each at most 1,000,000,000."""
    model: str | None = None
    """Encoder of the documents: a model folder, a Hugging Face hub id, or minilm. BM25 needs none."""
    queries_per_second: PositiveFloat = 10.0
    """Queries per second of all users, for which the number of machines is predicted."""
    machines: tuple[PositiveInt, ...] = (1,)
    """Numbers of machines like this one for which the time of encoding is predicted."""
    cost_per_hour: PositiveFloat | None = None
    """Cost of a machine per hour, in any currency. By default no costs are shown."""
    seconds: PositiveFloat = 60.0
    """Time for the measurements. Two fifths are for encoding; with more time, more documents are measured. Each index
    is built at least once, which may take longer (pq)."""
    memory: PositiveFloat | None = None
    """Memory of a machine in GB, by default of this one. Recommended indexes fit into it."""
    milliseconds: PositiveFloat = 100.0
    """Maximum median latency of a query with the recommended index: encoding and search."""
    indexes: tuple[Index, ...] = ()
    """Indexes in the order of preference, of which the first one within the limits is recommended. By default, for
    embeddings flat, hnsw, and ivf with float32, fp16, int8, pq and rabitq; for term weights inverted with float32 and
    uint8; and bm25, which is recommended only without a model."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's matrix multiplications; auto uses bfloat16 if the hardware supports it."""
    output: Path | None = None
    """Folder to write the numbers to, as JSON. By default they are only shown."""
    seed: Seed = 0
    """Random seed of the sample."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    def __post_init__(self) -> None:
        if not self.documents:
            raise ValueError("documents names no number. Give at least one, as in --documents 1000000")
        if not self.machines:
            raise ValueError("machines names no number. Give at least one, or leave it out")
        needing = [index.name for index in self.indexes if index.input_type != "text"]
        if needing and self.model is None:
            raise ValueError(f"model is required: a model computes what the index {needing[0]} is built from")

    @locks_output
    def run(self) -> CollectionPlan:
        if self.output is None:
            return self._measure()
        refuse_existing(self.output, overwrite=self.overwrite)
        with atomic_folder(self.output, overwrite=self.overwrite) as folder, explain_write_errors(folder):
            plan = self._measure()
            plan.save(folder)
            inputs = {**self.corpus.inputs("corpus"), "model": self.model}
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return plan

    def _measure(self) -> CollectionPlan:
        corpus = Corpus.from_format(self.corpus)
        if len(corpus) < _MIN_DOCUMENTS:
            raise DataError(
                f"{self.corpus.location()} has {len(corpus)} documents, and a plan needs at least {_MIN_DOCUMENTS} to "
                "sample from. Give more documents like those of the collection"
            )
        encoder = load_encoder(self.model, self.precision) if self.model else None
        indexes = tuple(dict.fromkeys(self.indexes)) or default_indexes(encoder)
        self._check_indexes(indexes, encoder)
        began, draw = time.monotonic(), np.random.default_rng(self.seed)
        sample = corpus.take(draw.permutation(len(corpus))[:_MAX_SAMPLE])
        texts = [full_text(document.title, document.text) for document in sample]
        queries = [snippet(texts[row % len(texts)], draw) for row in range(_QUERIES)]
        speed, vectors, encoded = self._measure_encoder(encoder, texts, queries)
        trials = IndexTrials(sample, texts, queries, vectors, encoded)
        fits, models = trials.measure_texts(), list[IndexModel]()
        with progress.task("Measuring indexes", len(indexes), "indexes") as bar:
            for number, index in enumerate(indexes):
                left = began + self.seconds - time.monotonic()
                models.append(trials.measure(index, time.monotonic() + left / (len(indexes) - number)))
                bar.advance()
        types = tuple(encoder.views) if encoder else ("text",)
        model = CollectionModel(str(self.corpus.location()), speed, *fits, models, types)
        limits = Limits((self.memory or machine_memory() / 1e9) * 1e9, self.milliseconds)
        return CollectionPlan(
            corpus=str(self.corpus.location()),
            sample_size=len(sample),
            encoding=speed,
            samples={one.index.label: one.samples for one in models},
            limits=limits,
            machines=self.machines,
            queries_per_second=self.queries_per_second,
            cost_per_hour=self.cost_per_hour,
            costs=tuple(model.at(count, limits) for count in dict.fromkeys(self.documents)),
            machine=machine(),
        )

    def _measure_encoder(
        self, encoder: Encoder | None, texts: Sequence[str], queries: Sequence[str]
    ) -> tuple[EncodingSpeed | None, Representation | None, Representation | None]:
        """Return speed and memory of the encoder, and vectors of documents and queries."""
        if encoder is None:
            return None, None, None
        window = texts[:WINDOW]
        with progress.task(f"Measuring {encoder.name}", None, ""):
            trial = EncodingTrial(encoder, window, self.seconds * _ENCODING_SHARE)
            speed = replace(trial.measure(queries), model=str(self.model))
            encoded = encoder.similarity.for_inner_products(trial.encode(queries))
        return speed, Representation.concatenate(trial.vectors), encoded

    def _check_indexes(self, indexes: Sequence[Index], encoder: Encoder | None) -> None:
        """Raise RecipeError if an index needs vectors that the model does not compute."""
        views = tuple(encoder.views) if encoder else ()
        if wrong := [index.name for index in indexes if index.input_type not in ("text", *views)]:
            message = f"{wrong[0]} does not store vectors that {self.model} computes ({', '.join(views)})"
            raise RecipeError("the recipe", [("indexes", message)])


def default_indexes(encoder: Encoder | None) -> tuple[Index, ...]:
    """Return the indexes that are measured by default, in the order of preference."""
    indexes: list[Index] = []
    if encoder and "dense" in encoder.views:
        indexes += [Flat(), Hnsw(), Ivf(storage="float32"), Ivf(storage="fp16"), Ivf(), Ivf(storage="pq")]
        indexes.append(Ivf(storage="rabitq"))
    if encoder and "sparse" in encoder.views:
        indexes += [Inverted(), Inverted(impacts="uint8")]
    return (*indexes, Bm25())


def machine_memory() -> int:
    """Return the memory of this machine in bytes, or the limit of its container if that is lower."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _CGROUP.read_text().strip() if _CGROUP.exists() else "max"
    return min(total, int(limit)) if limit.isdigit() else total
