"""A cross-encoder: it reads a query and a document together, and gives one score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from encloze import progress
from encloze.backbones._loading import quiet
from encloze.backbones._scoring import is_scorer, load_scorer
from encloze.backbones.base import longest_input
from encloze.calibration import Calibration
from encloze.errors import CheckpointError
from encloze.models.checkpoint import load_tokenizer
from encloze.models.memory import keep_buffers
from encloze.models.precision import Precision, autocast
from encloze.storage.json_files import read_json, write_json
from encloze.storage.model_folders import locate
from encloze.text.pairs import PaddedPairs, pad_pairs
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import by_length

CARD = "reranker.json"
_WINDOW, _BATCH_TOKENS = 4096, 16384
_AROUND = 4  # special tokens of a pair, at most


class PairTexts(NamedTuple):
    """Queries with documents as tensors. Shapes: pairs, length."""

    ids: Tensor  # int64, pairs x length
    attention: Tensor  # bool, pairs x length: no padding
    types: Tensor  # int64, pairs x length: 0 in the query's part, 1 in the document's, where the tokenizer tells

    @classmethod
    def of(cls, padded: PaddedPairs, device: torch.device) -> PairTexts:
        return cls(*(torch.from_numpy(array).to(device) for array in (padded.ids, padded.attention, padded.types)))


class CrossEncoder(nn.Module):
    """One of transformers' models for sequence classification, with one label, and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Tokenizer, max_tokens: int) -> None:
        super().__init__()
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens
        self.name = ""
        self.calibration: Calibration | None = None
        self.precision: Precision = "auto"
        for part in model.children():
            if part is not model.base_model:
                _in_full(part)
        self._tells_types = int(getattr(model.config, "type_vocab_size", 0) or 0) > 1

    @classmethod
    def load(cls, name: str, *, max_tokens: int | None = None, precision: str = "auto") -> CrossEncoder:
        """The re-ranker of a folder of encloze, sentence-transformers or transformers, or of a hub's id.

        An encoder that is none yet gets a new head, which is said. ``max_tokens`` is what a query and a document
        together are cut to; by default as it was trained, 512 at most.
        """
        keep_buffers()
        folder = locate(name)
        model, tokenizer = load_scorer(folder), load_tokenizer(folder)
        limit = longest_input(model.config, model.base_model)
        known = read_json(folder / CARD) if (folder / CARD).is_file() else {}
        made = cls(model, tokenizer, max_tokens or min(int(known.get("max_tokens", 512)), limit))
        if made.max_tokens > limit:
            raise ValueError(f"max_tokens is {made.max_tokens}, and {name} takes {limit} at most")
        made.name, made.precision = str(name), precision  # type: ignore[assignment]
        if "calibration" in known:
            made.calibration = Calibration(**{part: tuple(points) for part, points in known["calibration"].items()})
        return made.to(torch.device("cuda" if torch.cuda.is_available() else "cpu")).eval()

    @classmethod
    def trained(cls, name: str, *, precision: str = "auto") -> CrossEncoder:
        """A re-ranker that was trained to be one; CheckpointError for any other encoder, whose scores mean nothing."""
        if not is_cross_encoder(name):
            kinds = read_json(locate(name) / "config.json").get("architectures") or ["nothing"]
            raise CheckpointError(
                f"{name} is no re-ranker (its config.json names {', '.join(kinds)}). Train one with finetune_reranker"
            )
        return cls.load(name, precision=precision)

    def forward(self, pairs: PairTexts) -> Tensor:
        """Scores: float32, pairs."""
        more = {"token_type_ids": pairs.types} if self._tells_types else {}
        logits: Tensor = self.model(input_ids=pairs.ids, attention_mask=pairs.attention.long(), **more).logits
        return logits[:, 0].float()

    def save(self, folder: Path) -> None:
        """Write a folder that transformers, sentence-transformers and ``load`` read; without a curve to probabilities.

        A curve is of the scores that it was learnt from, and a model that is saved was trained on.
        """
        with quiet():
            self.model.save_pretrained(folder)
        self.tokenizer.save(folder, self.max_tokens)
        write_json(folder / CARD, {"encloze": 1, "max_tokens": self.max_tokens})

    @torch.inference_mode()
    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """The score of each query and document: float32, pairs."""
        self.eval()
        scores = np.empty(len(pairs), np.float32)
        place = next(self.parameters()).device
        with progress.task("Scoring", len(pairs), "pairs") as bar:
            for start in range(0, len(pairs), _WINDOW):
                window = pairs[start : start + _WINDOW]
                queries, documents = (self.tokenizer.encode([pair[side] for pair in window]) for side in (0, 1))
                lengths = np.array([len(q.ids) + len(d.ids) for q, d in zip(queries, documents, strict=True)])
                for rows in by_length(np.minimum(lengths + _AROUND, self.max_tokens), _BATCH_TOKENS):
                    padded = pad_pairs(
                        [queries[row] for row in rows],
                        [documents[row] for row in rows],
                        self.tokenizer,
                        self.max_tokens,
                    )
                    with autocast(self.precision, place):
                        scores[start + rows] = self(PairTexts.of(padded, place)).cpu().numpy()
                    bar.advance(len(rows))
        return scores


def is_cross_encoder(name: str) -> bool:
    """Whether a model is one for sequence classification, by its config.json."""
    return is_scorer(read_json(locate(name) / "config.json").get("architectures"))


def _in_full(part: nn.Module) -> None:
    """Let a part of a model calculate in float32 under autocast, too: scores of three digits are often the same."""
    whole = part.forward

    def forward(hidden: Tensor, *more: Any, **named: Any) -> Any:
        with torch.autocast(hidden.device.type, enabled=False):
            return whole(hidden.to(torch.promote_types(hidden.dtype, torch.float32)), *more, **named)

    part.forward = forward
