"""Local generator: a sequence-to-sequence model (as in doc2query and GPL) or a causal language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from encloze.backbones.hf.generation import TextGenerationModel
from encloze.data.records import full_text
from encloze.generators.base import GeneratedTexts, Generator, PreparedGenerator, SourceDocument
from encloze.models.layers.randomness import derive_keys, example_keys, uniform
from encloze.models.precision import resolve_precision
from encloze.storage.model_folders import locate
from encloze.text.few_shot_prompts import Prompt, first_line

_RANDOM_STREAM = 17  # no other use of random numbers has this stream


@dataclass(frozen=True)
class Local(Generator, name="local"):
    """A text generation model that is loaded with transformers and computes on this machine.

    A generated text depends only on the seed, the document and the index of the text among the document's texts. It
    does not depend on other texts or on where an interrupted command was resumed, because the random number of each
    token is a hash of these three and of the token's position. (``generate`` of transformers uses torch's global random
    generator, whose state depends on everything sampled before.) Rounding errors depend on the shape of a batch, and
    can change a token whose random number is very close to the boundary between two tokens. A resumed command therefore
    uses the same batches.
    """

    model: str
    """Model folder or Hugging Face hub id."""
    max_document_tokens: int = 350
    """Number of tokens to which the text of a document is truncated."""
    top_k: int = 25
    """Top-k sampling: a token is sampled from this number of most probable tokens; 0 for all tokens."""
    batch_size: int = 16
    """Number of documents for which texts are generated at a time."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model's weights and matrix multiplications."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_document_tokens < 1 or self.batch_size < 1 or self.top_k < 0:
            raise ValueError("max_document_tokens and batch_size must be 1 or more, and top_k 0 or more")

    @property
    def documents_per_batch(self) -> int:
        return self.batch_size

    def inputs(self) -> dict[str, Path | str]:
        return {**super().inputs(), "model": self.model}

    def prepare(self, queries_per_document: int, seed: int) -> PreparedGenerator:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if resolve_precision(self.precision, device) == "bfloat16" else torch.float32
        model = TextGenerationModel.load(locate(self.model), dtype)
        model.model.to(device)
        has_prompt = bool(model.is_causal or self.prompt or self.examples)
        prompt = Prompt.from_settings(self.prompt, self.examples) if has_prompt else None
        return _LocalGenerator(self, model, prompt, queries_per_document, seed)


class _LocalGenerator:
    """A local generator with its loaded model. If ``prompt`` is None, the model receives only the document."""

    def __init__(
        self, settings: Local, model: TextGenerationModel, prompt: Prompt | None, queries_per_document: int, seed: int
    ) -> None:
        self._settings, self._model, self._prompt = settings, model, prompt
        self._queries_per_document, self._seed = queries_per_document, seed

    def generate(self, batches: Iterable[list[SourceDocument]]) -> Iterator[list[GeneratedTexts]]:
        """Yield the texts of each batch, in the order of the batches."""
        count = self._queries_per_document
        for batch in batches:
            texts = self._model.truncate([document.text for document in batch], self._settings.max_document_tokens)
            prompts = [self._render(document.title, text) for document, text in zip(batch, texts, strict=True)]
            numbers = torch.tensor([document.number for document in batch], device=self._model.model.device)
            sampler = TokenSampler(self._settings, random_keys(self._seed, numbers, count))
            outputs = self._model.generate(prompts, count, self._settings.max_new_tokens, sampler)
            lines = [first_line(output) for output in outputs]
            yield [
                GeneratedTexts(document.number, lines[index * count : (index + 1) * count])
                for index, document in enumerate(batch)
            ]

    def _render(self, title: str, text: str) -> Any:
        """Return the input of the model for a document: chat messages for chat models, one text for other models."""
        if self._prompt is None:
            return full_text(title, text)
        return (
            self._prompt.to_messages(title, text)
            if self._model.uses_chat_template
            else self._prompt.to_text(title, text)
        )


def random_keys(seed: int, document_numbers: Tensor, queries_per_document: int) -> Tensor:
    """Return a key (int64) for each text to generate, from which its random numbers are derived; those of a document
    are consecutive."""
    keys = example_keys(seed, 0, _RANDOM_STREAM, document_numbers)
    return derive_keys(keys[:, None], torch.arange(queries_per_document, device=document_numbers.device)).flatten()


class TokenSampler:
    """Samples the next token of each text with top-k and top-p filtering."""

    def __init__(self, settings: Local, text_keys: Tensor) -> None:
        self._temperature, self._top_k, self._top_p = settings.temperature, settings.top_k, settings.top_p
        self._text_keys = text_keys

    def __call__(self, scores: Tensor, position: int) -> Tensor:
        """Sample the next token of every text from ``scores``, the logits (texts x vocabulary); return its id."""
        top_k = min(self._top_k or scores.shape[1], scores.shape[1])
        top_scores, tokens = (scores.float() / self._temperature).topk(top_k)  # texts x top_k, in descending order
        probabilities = top_scores.softmax(dim=1)
        preceding = probabilities.cumsum(dim=1) - probabilities
        probabilities = probabilities.masked_fill(preceding >= self._top_p, 0.0)  # the first token is always kept
        cumulative = probabilities.cumsum(dim=1)
        random = uniform(derive_keys(self._text_keys, torch.full_like(self._text_keys, position)))
        threshold = random[:, None] * cumulative[:, -1:]
        return tokens.gather(1, (cumulative < threshold).sum(dim=1)[:, None])[:, 0]
