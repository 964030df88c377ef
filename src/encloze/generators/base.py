"""A generator: whatever writes queries that a document answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from encloze.family import Family


class Source(NamedTuple):
    """A document to write queries for."""

    number: int
    """Its place in the corpus: with a seed it decides what is drawn."""
    title: str
    text: str


class Written(NamedTuple):
    """What was written for a document, one text a query, uncleaned but for what follows the first line."""

    number: int
    texts: list[str]


class Writer(Protocol):
    """A generator at work."""

    def write(self, batches: Iterable[list[Source]]) -> Iterator[list[Written]]:
        """What is written for each batch, each whole; in any order, and as soon as it is there."""
        ...


@dataclass(frozen=True)
class Generator(Family):
    """Something that writes. A bare word that is no member's name stands for a local model."""

    otherwise: ClassVar[str | None] = "local"

    prompt: str = field(default="", kw_only=True)
    """What is asked, with {text} and perhaps {title} where those of the document belong; what is written goes on from
    its end. By default the document alone for sequence-to-sequence models, and else a few-shot prompt for questions."""
    examples: Path | None = field(default=None, kw_only=True)
    """JSON lines with text, query and perhaps title: documents and good queries for them, put before what is asked."""
    temperature: float = field(default=1.0, kw_only=True)
    """How bold the draw of the next token is."""
    top_p: float = field(default=0.95, kw_only=True)
    """Drawn from are the likeliest tokens that have this probability together."""
    max_new_tokens: int = field(default=64, kw_only=True)
    """How long a query may get."""

    def __post_init__(self) -> None:
        if self.prompt and "{text}" not in self.prompt:
            raise ValueError("prompt has no {text}, where the document's text belongs")
        if not self.temperature > 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature must be above 0, and top_p above 0 and at most 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be 1 or more, not {self.max_new_tokens}")

    @property
    def together(self) -> int:
        """How many documents make a batch: a kill costs those, and no other batch changes what is written for them."""
        return 1

    def inputs(self) -> dict[str, Path | str]:
        """What it is made of, to be hashed beside the result."""
        return {} if self.examples is None else {"examples": self.examples}

    def ready(self, each: int, seed: int) -> Writer:
        """Load what is needed to write so many queries for each document."""
        raise NotImplementedError(type(self).__name__)
