"""A model on this machine: a sequence-to-sequence one (doc2query's, GPL's) or a causal language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from encloze.backbones._generating import Generating
from encloze.data.records import full_text
from encloze.generators._prompts import Prompt, first_line
from encloze.generators.base import Generator, Source, Writer, Written
from encloze.models.layers.randomness import keys, spread, uniform
from encloze.models.memory import keep_buffers
from encloze.models.precision import resolved
from encloze.storage.model_folders import locate

_DRAWS = 17  # the stream of these draws: no other draw has this number


@dataclass(frozen=True)
class Local(Generator, name="local"):
    """A model of transformers; what it draws is a pure function of the seed, the document and the place in the text.

    transformers' ``generate`` draws from torch's one generator, whose numbers depend on all that was drawn before. Here
    each place of each text has a number of its own, by a hash, so that a text depends on no other text, nor on where a
    run was killed. What is left of the batch is rounding: matrices of other shapes differ in their last bits, and where
    two tokens are as good as equally near a draw, another is taken. So batches are always the same ones.
    """

    model: str
    """A model folder or a hub's id."""
    max_document_tokens: int = 350
    """Of a document's text so many tokens are read."""
    top_k: int = 25
    """Drawn from are so many of the likeliest tokens; 0 is all."""
    batch_size: int = 16
    """Documents that are written for at a time."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the weights and products."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_document_tokens < 1 or self.batch_size < 1 or self.top_k < 0:
            raise ValueError("max_document_tokens and batch_size must be 1 or more, and top_k 0 or more")

    @property
    def together(self) -> int:
        return self.batch_size

    def inputs(self) -> dict[str, Path | str]:
        return {**super().inputs(), "model": self.model}

    def ready(self, each: int, seed: int) -> Writer:
        keep_buffers()
        place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if resolved(self.precision, place) == "bfloat16" else torch.float32
        model = Generating.load(locate(self.model), dtype)
        model.model.to(place)
        is_bare = not (model.is_causal or self.prompt or self.examples)
        return _Writer(self, model, None if is_bare else Prompt.of(self.prompt, self.examples), each, seed)


class _Writer:
    """A model that is loaded; without a prompt it reads the document alone."""

    def __init__(self, settings: Local, model: Generating, prompt: Prompt | None, each: int, seed: int) -> None:
        self.settings, self.model, self.prompt, self.each, self.seed = settings, model, prompt, each, seed

    def write(self, batches: Iterable[list[Source]]) -> Iterator[list[Written]]:
        """Each batch's queries, in order."""
        for batch in batches:
            texts = self.model.cut([source.text for source in batch], self.settings.max_document_tokens)
            prompts = [self._prompt(source.title, text) for source, text in zip(batch, texts, strict=True)]
            numbers = torch.tensor([source.number for source in batch], device=self.model.model.device)
            draws = _Draws(self.settings, _texts(self.seed, numbers, self.each))
            found = self.model.write(prompts, self.each, self.settings.max_new_tokens, draws)
            lines = [first_line(text) for text in found]
            yield [
                Written(source.number, lines[at * self.each : (at + 1) * self.each]) for at, source in enumerate(batch)
            ]

    def _prompt(self, title: str, text: str) -> Any:
        if self.prompt is None:
            return full_text(title, text)
        return self.prompt.turns(title, text) if self.model.converses else self.prompt.run_on(title, text)


def _texts(seed: int, numbers: Tensor, each: int) -> Tensor:
    """A key for each text that is to be written: int64, documents * each."""
    return spread(keys(seed, 0, _DRAWS, numbers)[:, None], torch.arange(each, device=numbers.device)).flatten()


class _Draws:
    """Chooses the next tokens: of the likeliest ones, by a number for each text and place."""

    def __init__(self, settings: Local, texts: Tensor) -> None:
        self._temperature, self._top_k, self._top_p = settings.temperature, settings.top_k, settings.top_p
        self._texts = texts

    def __call__(self, scores: Tensor, place: int) -> Tensor:
        among = min(self._top_k or scores.shape[1], scores.shape[1])
        best, tokens = (scores.float() / self._temperature).topk(among)  # texts x among, the likeliest first
        chances = best.softmax(dim=1)
        before = chances.cumsum(dim=1) - chances
        chances = chances.masked_fill(before >= self._top_p, 0.0)  # the first always stays
        reached = chances.cumsum(dim=1)
        drawn = uniform(spread(self._texts, torch.full_like(self._texts, place)))[:, None] * reached[:, -1:]
        at = (reached < drawn).sum(dim=1)
        return tokens.gather(1, at[:, None])[:, 0]
