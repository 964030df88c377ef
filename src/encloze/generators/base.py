"""Generators: models that generate queries for documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple, Protocol

from encloze.family import Family
from encloze.settings import Range


class SourceDocument(NamedTuple):
    """A document for which queries are generated."""

    number: int
    """Index of the document in the corpus. The random numbers depend on it and on the seed."""
    title: str
    """Title of the document."""
    text: str
    """Text of the document."""


class GeneratedTexts(NamedTuple):
    """Texts generated for one document. The first line of each text is a candidate query."""

    number: int
    """Index of the document in the corpus."""
    texts: list[str]
    """The generated texts, unfiltered."""


class PreparedGenerator(Protocol):
    """A generator whose model is loaded."""

    def generate(self, batches: Iterable[list[SourceDocument]]) -> Iterator[list[GeneratedTexts]]:
        """Generate texts for batches of documents.

        Args:
            batches: Batches of documents.

        Yields:
            The texts of each batch as soon as they are complete. Batches may be yielded in any order.
        """
        ...


@dataclass(frozen=True)
class Generator(Family):
    """Base class of generators. A subclass implements ``prepare``.

    In a recipe and on the command line, a name that is not a generator's name is used as ``model`` of
    the generator ``local``.

    Example:
        >>> from encloze.generators.local import Local
        >>> Local("BeIR/query-gen-msmarco-t5-base-v1", temperature=0.7).top_p
        0.95
    """

    default_member: ClassVar[str | None] = "local"

    prompt: str = field(default="", kw_only=True)
    """Prompt that the model continues. {text} is replaced by the text of the document, and {title} (optional) by its
    title. By default, sequence-to-sequence models receive only the document, and other models receive a few-shot prompt
    that requests a question."""
    examples: Path | None = field(default=None, kw_only=True)
    """JSON Lines file with few-shot examples, which precede the prompt. Each line contains a document in the fields
    text and, optionally, title, and a good query for this document in the field query."""
    temperature: Annotated[float, Range(gt=0, le=100)] = field(default=1.0, kw_only=True)
    """Sampling temperature; above 0."""
    top_p: Annotated[float, Range(gt=0, le=1)] = field(default=0.95, kw_only=True)
    """Nucleus sampling: a token is sampled from the most probable tokens whose total probability is this value."""
    max_new_tokens: Annotated[int, Range(ge=1, le=1_000_000)] = field(default=64, kw_only=True)
    """Maximum number of tokens of a generated query."""

    def __post_init__(self) -> None:
        if self.prompt and "{text}" not in self.prompt:
            raise ValueError("prompt must contain {text}, which is replaced by the text of the document")

    @property
    def documents_per_batch(self) -> int:
        """Number of documents in a batch.

        A batch is the unit that is resumed: after an interruption, unfinished batches are generated again from their
        first document. The texts of a batch do not depend on other batches.
        """
        return 1

    def inputs(self) -> dict[str, Path | str]:
        """Return the files, models and URLs that the generator uses, keyed by the setting that names them."""
        return {} if self.examples is None else {"examples": self.examples}

    def prepare(self, queries_per_document: int, seed: int) -> PreparedGenerator:
        """Load the model, and return an object that generates texts with it.

        Args:
            queries_per_document: Number of texts to generate for each document.
            seed: Seed of all random numbers.
        """
        raise NotImplementedError(type(self).__name__)
