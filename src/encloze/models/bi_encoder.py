"""A bi-encoder: queries and documents become representations apart from each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.data.records import Representation
from encloze.errors import CheckpointError
from encloze.model_folders import locate
from encloze.models.checkpoint import CARD, Card, load_tokenizer, model_fingerprint
from encloze.models.memory import keep_buffers
from encloze.models.precision import Precision, autocast
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import pad

_WINDOW = 4096  # texts sorted by length at a time
_BATCH_TOKENS = 16384
_CUT_UNSAID = 0.01  # so small a share of cut texts is not worth a warning


class BiEncoder(nn.Module):
    """A backbone with its head and tokenizer; ``card`` says how texts become representations."""

    def __init__(self, backbone: Backbone, tokenizer: Tokenizer, card: Card) -> None:
        super().__init__()
        longest = max(card.max_query_tokens, card.max_document_tokens)
        if longest > backbone.max_tokens:
            raise CheckpointError(
                f"texts of {longest} tokens do not fit: the encoder takes {backbone.max_tokens} at most. "
                "Lower max_query_tokens and max_document_tokens"
            )
        self.backbone, self.tokenizer, self.card = backbone, tokenizer, card
        self.name, self.fingerprint = "", ""
        self.precision: Precision = "auto"

    @classmethod
    def load(cls, name: str, *, precision: str = "auto") -> BiEncoder:
        """The bi-encoder of a folder of encloze, sentence-transformers or transformers, a hub's id, or ``minilm``."""
        keep_buffers()
        folder = locate(name)
        backbone = Backbone.load(folder, need_head=False)
        tokenizer, card = load_tokenizer(folder), Card.read(folder, backbone.max_tokens)
        encoder = cls(backbone, tokenizer, card).to(_device())
        encoder.name, encoder.fingerprint = str(name), model_fingerprint(folder, card, tokenizer)
        encoder.precision = precision  # type: ignore[assignment]
        return encoder.eval()

    @property
    def width(self) -> int:
        return self.backbone.width

    def forward(self, ids: Tensor, attention: Tensor) -> Tensor:
        """Embeddings: batch x width, of ids and attention batch x length."""
        return self.card.head.represent(self.backbone.encode(ids, attention), attention)

    def encode_queries(self, texts: Sequence[str]) -> Representation:
        """The representations of queries, in order."""
        return self._encode(texts, len(texts), "query", "queries")

    def encode_documents(self, texts: Iterable[str], count: int) -> Representation:
        """The representations of documents, in order; says how many were cut."""
        return self._encode(texts, count, "document", "documents")

    def save(self, folder: Path) -> None:
        """Write a model folder that transformers and ``load`` read."""
        self.backbone.save(folder)
        self.tokenizer.save(folder, self.backbone.max_tokens)
        self.card.write(folder)

    @torch.inference_mode()
    def _encode(self, texts: Iterable[str], count: int, kind: str, unit: str) -> Representation:
        self.eval()
        prompt: str = getattr(self.card, f"{kind}_prompt")
        limit: int = getattr(self.card, f"max_{kind}_tokens")
        embeddings = np.empty((count, self.width), np.float32)
        source, start, cut = iter(texts), 0, 0
        with progress.task(f"Encoding {unit}", count, unit) as bar:
            while window := [prompt + text for text in islice(source, _WINDOW)]:
                encoded = self.tokenizer.encode(window)
                cut += sum(len(text.ids) > limit - 2 for text in encoded)
                for rows in _batches(encoded, limit):
                    embeddings[start + rows] = self._embed([encoded[row] for row in rows], limit)
                    bar.advance(len(rows))
                start += len(window)
        if cut > _CUT_UNSAID * count:
            progress.warn(
                f"{cut / count:.1%} of the {unit} ({cut:,} of {count:,}) were cut at {limit} tokens, the limit of "
                f"{self.name or 'the model'} (max_{kind}_tokens in its {CARD})"
            )
        return Representation(dense=embeddings)

    def _embed(self, texts: list[Encoded], limit: int) -> np.ndarray:
        batch = pad(texts, self.tokenizer, limit)
        place = next(self.parameters()).device
        with autocast(self.precision, place):
            embedded = self(torch.from_numpy(batch.ids).to(place), torch.from_numpy(batch.attention).to(place))
        return np.asarray(embedded.float().cpu().numpy())


def _batches(texts: list[Encoded], limit: int) -> Iterator[np.ndarray]:
    """Numbers of texts of like length, few enough for ``_BATCH_TOKENS`` with padding."""
    lengths = np.array([min(len(text.ids) + 2, limit) for text in texts])
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        rows = max(1, _BATCH_TOKENS // int(lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def _device() -> torch.device:
    """The processor that encoding runs on: the first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
