"""Build an index that can be searched: by meaning, by words, or both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from encloze import recipe
from encloze.commands.base import Command
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.encoders.base import load_encoder
from encloze.retrieval.index_folder import build_index, exact_indexes
from encloze.search.indexes.base import Index as Kind
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.provenance import write_provenance


@dataclass(frozen=True)
class Indexed:
    """An index folder that is done."""

    folder: Path
    documents: int
    views: list[dict[str, Any]]


@dataclass(frozen=True)
class Index(Command, name="index"):
    """Documents, ready to be found; the folder holds all that search needs but the model."""

    output: Path
    """The index folder to write."""
    corpus: Format | None = None
    """The documents: a folder or file in any known format, or python_docs."""
    dataset: Format | None = None
    """The documents of a data set, in place of corpus."""
    model: str | None = None
    """The encoder, for indexes of embeddings: a model folder, a hub's id, or minilm."""
    indexes: tuple[Kind, ...] = ()
    """What to build; several are searched together (flat,inverted,bm25). By default an exact one for each view that
    the model makes: flat for embeddings, inverted for term weights."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder's products; auto takes bfloat16 where the processor is made for it."""
    seed: int = 0
    """Nothing here is random yet; kept so that every verb has it."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if (self.corpus is None) == (self.dataset is None):
            raise ValueError("give either a corpus or a dataset")
        if not self.indexes and self.model is None:
            raise ValueError("give a model, or indexes that need none, as in --indexes bm25")
        needing = [index.name for index in self.indexes if index.reads != "text"]
        if needing and self.model is None:
            raise ValueError(f"model is required: the index {needing[0]} is built from embeddings")

    def run(self) -> Indexed:
        refuse_existing(self.output, overwrite=self.overwrite)
        source = self.corpus or self.dataset
        assert source is not None  # checked above
        corpus = Corpus.open(source)
        encoder = load_encoder(self.model, self.precision) if self.model else None
        with atomic_folder(self.output, overwrite=self.overwrite) as folder:
            indexes = self.indexes or (exact_indexes(encoder) if encoder else ())
            views = build_index(corpus, indexes, encoder, folder)
            write_provenance(
                folder, recipe.dump(self, {"verb": self.name}), {**source.inputs("corpus"), "model": self.model}
            )
        return Indexed(self.output, len(corpus), views)
