"""A bi-encoder: queries and documents become representations apart from each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix, vstack
from torch import nn

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.data.records import Representation
from encloze.errors import CheckpointError
from encloze.models.checkpoint import CARD, HEADS, Card, load_tokenizer, model_fingerprint
from encloze.models.heads.base import Read, Side, Texts
from encloze.models.memory import keep_buffers
from encloze.models.precision import Precision, autocast, resolved
from encloze.similarity import Similarity
from encloze.storage.model_folders import locate
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import by_length, pad

_SIDES: tuple[Side, ...] = get_args(Side)
_WINDOW = 4096  # texts sorted by length at a time
_BATCH_TOKENS = 16384
_CUT_UNSAID = 0.01  # so small a share of cut texts is not worth a warning


class BiEncoder(nn.Module):
    """A backbone with its heads and tokenizer; ``card`` says how texts become representations."""

    def __init__(self, backbone: Backbone, tokenizer: Tokenizer, card: Card, heads: Path | None = None) -> None:
        """``heads`` is a file of what the heads learnt of their own, taken where it is of the same make."""
        super().__init__()
        longest = max(card.max_query_tokens, card.max_document_tokens)
        if longest > backbone.max_tokens:
            raise CheckpointError(
                f"texts of {longest} tokens do not fit: the encoder takes {backbone.max_tokens} at most. "
                "Lower max_query_tokens and max_document_tokens"
            )
        if card.needs_vocabulary and (lacking := backbone.lacks()):
            raise CheckpointError(
                f"a sparse view is made by the encoder's head for masked language modelling, and {lacking}"
            )
        self.backbone, self.tokenizer, self.card = backbone, tokenizer, card
        made = {head.name: head.part(backbone) for head in card.heads}
        self.parts = nn.ModuleDict({name: part for name, part in made.items() if part is not None})
        anew = _take(self.parts, heads)
        if heads is not None and anew:
            progress.note(f"What heads learnt before is of another make: they begin anew ({', '.join(anew)})")
        self.name, self.fingerprint = "", ""
        self._said_of_pairs = set[Side]()
        self._prompts = {side: tokenizer.encode([card.prompt(side)])[0].ids for side in _SIDES}
        self.precision: Precision = "auto"

    @classmethod
    def load(cls, name: str, *, precision: str = "auto") -> BiEncoder:
        """The bi-encoder of a folder of encloze, sentence-transformers or transformers, a hub's id, or ``minilm``."""
        keep_buffers()
        folder = locate(name)
        backbone = Backbone.load(folder, need_head=False)  # one that is there is kept
        tokenizer, card = load_tokenizer(folder), Card.read(folder, backbone.max_tokens)
        encoder = cls(backbone, tokenizer, card).to(_device())
        if lacking := _take(encoder.parts, folder / HEADS):
            raise CheckpointError(f"{folder} lacks what its heads learnt ({', '.join(lacking)}, in {HEADS})")
        encoder.name, encoder.fingerprint = str(name), model_fingerprint(folder, card, tokenizer)
        encoder.precision = precision  # type: ignore[assignment]
        return encoder.eval()

    @property
    def arithmetic(self) -> str:
        """The number format of its products on the device where it is."""
        device = next(self.parameters()).device
        return f"{resolved(self.precision, device)} on {device.type}"

    @property
    def views(self) -> dict[str, int]:
        """The views it makes, and how wide each is."""
        dense = self.card.dense
        vocabulary = int(self.backbone.config.vocab_size)
        widths = {"dense": (dense.width if dense else None) or self.backbone.width, "sparse": vocabulary}
        return {head.view: widths[head.view] for head in self.card.heads}

    @property
    def similarity(self) -> Similarity:
        return self.card.similarity

    def texts(self, encoded: list[Encoded], side: Side, device: torch.device) -> Texts:
        """Queries or documents, with the prompt before them, as tensors, cut to their limit."""
        return Texts.of(pad(encoded, self.tokenizer, self.card.limit(side)), device, self._prompts[side])

    def forward(self, texts: Texts, side: Side) -> Representation:
        """Both views of queries or documents, as tensors: texts x size each, None where there is no such view."""
        reads = any(head.reads_hidden(side) for head in self.card.heads)
        hidden = self.backbone.encode(texts.ids, texts.attention) if reads else None
        read, parts = Read(texts, hidden), dict(self.parts.items())
        return Representation(
            **{h.view: h.represent(read, side, self.backbone, parts.get(h.name)) for h in self.card.heads}
        )

    def kept(self, found: Representation, side: Side, *, training: bool) -> Representation:
        """What of the views counts in a score."""
        made = {h.view: h.kept(getattr(found, h.view), side, training=training) for h in self.card.heads}
        return found._replace(**made)

    def encode_queries(self, texts: Sequence[str]) -> Representation:
        """The representations of queries, in order; says how many were cut."""
        return self._joined(self._parts(texts, len(texts), "query"))

    def encode_documents(self, texts: Iterable[str], count: int) -> Representation:
        """The representations of documents, in order; says how many were cut."""
        return self._joined(self.documents_in_parts(texts, count))

    def documents_in_parts(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        """The same, a few thousand documents at a time: no more are held."""
        return self._parts(texts, count, "document")

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """The score of each query and document: float32, pairs. Each distinct text is encoded once.

        That texts were cut is said of the first pairs that it happens to, and not again.
        """
        sides = [list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1)]
        queries, documents = (
            self._joined(self._parts(texts, len(texts), side, self._said_of_pairs))
            for texts, side in zip(sides, _SIDES, strict=True)
        )
        places = [{text: number for number, text in enumerate(side)} for side in sides]
        rows, columns = (np.array([places[side][pair[side]] for pair in pairs], np.int64) for side in (0, 1))
        return self.similarity.of_pairs(queries, documents, rows, columns)

    def save(self, folder: Path) -> None:
        """Write a model folder that transformers and ``load`` read."""
        self.backbone.save(folder)
        self.tokenizer.save(folder, self.backbone.max_tokens)
        self.card.write(folder)
        if learnt := {name: value.contiguous() for name, value in self.parts.state_dict().items()}:
            save_file(learnt, str(folder / HEADS))

    def _joined(self, parts: Iterable[Representation]) -> Representation:
        whole = list(parts) or [_Gathered(0, self.views).whole()]
        dense, sparse = [part.dense for part in whole], [part.sparse for part in whole]
        return Representation(
            None if dense[0] is None else np.concatenate(dense), None if sparse[0] is None else vstack(sparse, "csr")
        )

    def _parts(
        self, texts: Iterable[str], count: int, side: Side, said: set[Side] | None = None
    ) -> Iterator[Representation]:
        """The texts some thousands at a time; says how many were cut, unless that was ``said`` of this side before."""
        self.eval()
        unit, said = {"query": "queries", "document": "documents"}[side], set() if said is None else said
        prompt, limit = self.card.prompt(side), self.card.limit(side)
        source, cut = iter(texts), 0
        with progress.task(f"Encoding {unit}", count, unit) as bar:
            while window := [prompt + text for text in islice(source, _WINDOW)]:
                encoded, made = self.tokenizer.encode(window), _Gathered(len(window), self.views)
                cut += sum(len(text.ids) > limit - 2 for text in encoded)
                lengths = np.array([min(len(text.ids) + 2, limit) for text in encoded])
                for rows in by_length(lengths, _BATCH_TOKENS):
                    made.put(rows, self._represented([encoded[row] for row in rows], side))
                    bar.advance(len(rows))
                yield made.whole()
        if cut > _CUT_UNSAID * count and side not in said:
            said.add(side)
            progress.warn(
                f"{cut / count:.1%} of the {unit} ({cut:,} of {count:,}) were cut at {limit} tokens, the limit of "
                f"{self.name or 'the model'} (max_{side}_tokens in its {CARD})"
            )

    @torch.inference_mode()
    def _represented(self, texts: list[Encoded], side: Side) -> Representation:
        place = next(self.parameters()).device
        with autocast(self.precision, place):
            found = self(self.texts(texts, side, place), side)
        if not all(view.isfinite().all() for view in found if view is not None):
            raise CheckpointError(
                f"{self.name or 'the model'} makes embeddings or term weights that are no numbers: its weights are "
                "broken. Train it again"
            )
        return self.kept(found, side, training=False)


class _Gathered:
    """The views of a few texts that come in any order."""

    def __init__(self, count: int, views: dict[str, int]) -> None:
        self._count, self._views = count, views
        self._dense = np.empty((count, views["dense"]), np.float32) if "dense" in views else None
        self._rows, self._columns, self._weights = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()

    def put(self, rows: np.ndarray, found: Representation) -> None:
        if self._dense is not None:
            self._dense[rows] = found.dense.float().cpu().numpy()
        if found.sparse is not None:
            at, columns = found.sparse.nonzero(as_tuple=True)
            self._weights.append(found.sparse[at, columns].float().cpu().numpy())
            self._columns.append(columns.int().cpu().numpy())
            self._rows.append(rows[at.cpu().numpy()])

    def whole(self) -> Representation:
        if "sparse" not in self._views:
            return Representation(self._dense)
        rows, columns, weights = (
            np.concatenate([np.empty(0, kind), *parts])
            for kind, parts in ((np.int64, self._rows), (np.int32, self._columns), (np.float32, self._weights))
        )
        shape = (self._count, self._views["sparse"])
        return Representation(self._dense, csr_matrix((weights, (rows, columns)), shape))


def _take(parts: nn.ModuleDict, heads: Path | None) -> list[str]:
    """Put what heads learnt in place, where the make is the same; returns the names of what is left as it was."""
    own = parts.state_dict()
    found = load_file(str(heads)) if heads is not None and heads.is_file() else {}
    same = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    parts.load_state_dict(same, strict=False)
    return [name for name in own if name not in same]


def _device() -> torch.device:
    """The processor that encoding runs on: the first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
