"""Compute the embeddings or term weights of texts, for other programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encloze import recipe
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Representation
from encloze.data.vectors.base import ORIGIN_FILE, Kind, Layout, VectorFormat
from encloze.data.vectors.parquet import ParquetVectors
from encloze.encoders.base import Encoder, load_encoder
from encloze.errors import RecipeError
from encloze.execution.encodings import encode_corpus
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.disk import explain_write_errors
from encloze.storage.json_files import write_json
from encloze.storage.provenance import write_provenance

_QUERIES = 1024  # encoded at a time


@dataclass(frozen=True)
class EncodingResult:
    """Result of ``encode``: the file that was written.

    Attributes:
        file: The file with the vectors.
        count: Number of texts.
        dims: Number of dimensions of each kind of vector in the file: of ``dense``, ``sparse`` or both.
    """

    file: Path
    count: int
    dims: dict[str, int]


@dataclass(frozen=True)
class Encode(Command, name="encode"):
    """Compute the embeddings or term weights of documents or queries, and write them for other programs.

    ``encloze index --vectors`` reads them, too, for example on a machine without a GPU.

    Example:
        >>> Encode(model="minilm", corpus="my_texts", output="vectors").run().file
    """

    model: str
    """Encoder: a model folder, a Hugging Face hub id, or minilm."""
    output: Path
    """Folder to write."""
    corpus: Format | None = None
    """Documents to encode: a file or folder in any known format."""
    dataset: Format | None = None
    """Data set whose queries are encoded. Set either corpus or dataset."""
    split: str = "test"
    """Split of the data set whose queries are encoded."""
    format: VectorFormat = field(default_factory=ParquetVectors)
    """File format: parquet, npy or fvecs (embeddings), anserini, or seismic (term weights)."""
    kind: Kind | None = None
    """dense or sparse: what is written, if the model computes both and the format can contain only one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the encoder's matrix multiplications; auto uses bfloat16 if the hardware supports it."""
    execution: Executor = field(default_factory=Local)
    """Where documents are encoded: in this process (local), in several (processes), by tasks of a launcher (torchrun,
    slurm) or on a Ray cluster (ray). Queries are encoded in this process."""
    seed: Seed = 0
    """Random seed, a setting of every command. It has no effect here, because encoding is deterministic."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    def __post_init__(self) -> None:
        if (self.corpus is None) == (self.dataset is None):
            raise ValueError("give either a corpus, to encode its documents, or a dataset, to encode its queries")

    @locks_output
    def run(self) -> EncodingResult:
        if self.execution.writes_output:
            refuse_existing(self.output, overwrite=self.overwrite)
        encoder = load_encoder(self.model, self.precision)
        kinds = self._kinds(encoder)
        source = self.corpus or self.dataset
        assert source is not None  # checked above
        ids, parts = (
            _encode_documents(encoder, Corpus.from_format(source), self.execution)
            if self.corpus
            else _encode_queries(encoder, DatasetSplit(source, self.split))
        )
        layout = Layout(len(ids), {kind: encoder.views[kind] for kind in kinds}, encoder.term_names)
        result = EncodingResult(self.output / self.format.file, len(ids), layout.dims)
        if not self.execution.writes_output:
            deque(parts if self.corpus else (), maxlen=0)  # its share; the first process writes the file
            return result
        with atomic_folder(self.output, overwrite=self.overwrite) as folder, explain_write_errors(folder):
            writer, done = self.format.writer(folder, layout), 0
            for part in parts:
                writer.add(ids[done : done + part.num_texts], part.only(kinds))
                done += part.num_texts
            writer.finish()
            write_json(folder / ORIGIN_FILE, {"model": encoder.name, "fingerprint": encoder.fingerprint})
            inputs = {**source.inputs("corpus" if self.corpus else "dataset"), "model": self.model}
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return result

    def _kinds(self, encoder: Encoder) -> list[Kind]:
        """Return the kinds of vectors to write. Raises RecipeError if the model or the format does not have them."""
        found: list[Kind] = [kind for kind in ("dense", "sparse") if kind in encoder.views]
        possible = [kind for kind in found if kind in self.format.kinds and self.kind in (None, kind)]
        if not possible:
            wanted, have = self.kind or " or ".join(self.format.kinds), " and ".join(found)
            message = f"{self.format.name} is written with {wanted} vectors, and {encoder.name} computes {have} ones"
            raise RecipeError("the recipe", [("format", message)])
        if len(possible) > 1 and not self.format.holds_both:
            message = f"{encoder.name} computes both, and {self.format.name} contains one: give dense or sparse"
            raise RecipeError("the recipe", [("kind", message)])
        return possible


def _encode_documents(
    encoder: Encoder, corpus: Corpus, executor: Executor
) -> tuple[list[str], Iterator[Representation]]:
    return list(corpus.ids), encode_corpus(encoder, corpus, executor)


def _encode_queries(encoder: Encoder, split: DatasetSplit) -> tuple[list[str], Iterator[Representation]]:
    texts = [query.text for query in split.queries]
    starts = range(0, len(texts), _QUERIES)
    parts = (encoder.represent_queries(texts[start : start + _QUERIES]) for start in starts)
    return [query.id for query in split.queries], parts
