"""Generator: a model that generates queries for documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from encloze.family import Family


class SourceDocument(NamedTuple):
    """A document to generate queries for."""

    number: int
    """Index of the document in the corpus. Together with the seed it determines the random numbers."""
    title: str
    """Title of the document."""
    text: str
    """Text of the document."""


class GeneratedTexts(NamedTuple):
    """Texts generated for a document. The first line of each text is a candidate query."""

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
    """Base class of generators. A member implements ``prepare``.

    In a recipe and on the command line, a name that is not a member's name is taken as the model of ``local``.

    Example:
        >>> from encloze.generators.local import Local
        >>> Local("BeIR/query-gen-msmarco-t5-base-v1", temperature=0.7).top_p
        0.95
    """

    default_member: ClassVar[str | None] = "local"

    prompt: str = field(default="", kw_only=True)
    """Prompt with the fields {text} and, optionally, {title}, which the model continues. By default,
    sequence-to-sequence models receive the document only, and other models a few-shot prompt for questions."""
    examples: Path | None = field(default=None, kw_only=True)
    """JSON Lines file with few-shot examples, which precede the prompt: documents with good queries, in the fields
    text, query and, optionally, title."""
    temperature: float = field(default=1.0, kw_only=True)
    """Sampling temperature; above 0."""
    top_p: float = field(default=0.95, kw_only=True)
    """Nucleus sampling: tokens are sampled from the most probable ones that together have this probability."""
    max_new_tokens: int = field(default=64, kw_only=True)
    """Maximum number of tokens of a query."""

    def __post_init__(self) -> None:
        if self.prompt and "{text}" not in self.prompt:
            raise ValueError("prompt must contain {text}, which is replaced by the text of the document")
        if not self.temperature > 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature must be above 0, and top_p above 0 and at most 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, not {self.max_new_tokens}")

    @property
    def documents_per_batch(self) -> int:
        """Number of documents in a batch.

        An interrupted run has to repeat its unfinished batches. The texts of a batch do not depend on other batches.
        """
        return 1

    def inputs(self) -> dict[str, Path | str]:
        """Return the files and models that are used, whose hashes are saved with results."""
        return {} if self.examples is None else {"examples": self.examples}

    def prepare(self, queries_per_document: int, seed: int) -> PreparedGenerator:
        """Load the model.

        Args:
            queries_per_document: Number of texts to generate for each document.
            seed: Seed of all random numbers.
        """
        raise NotImplementedError(type(self).__name__)
