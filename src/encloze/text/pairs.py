"""Two texts read together: a query and a document in one row of tokens, as the tokenizer joins them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encloze.text.tokenizer import Encoded, Tokenizer


@dataclass(frozen=True)
class PaddedPairs:
    """Pairs as a rectangle, special tokens added and cut to a limit."""

    ids: np.ndarray  # int64, pairs x length
    attention: np.ndarray  # bool, pairs x length: no padding
    types: np.ndarray  # int64, pairs x length: what the tokenizer says of each part, 0 for padding


def pad_pairs(queries: list[Encoded], documents: list[Encoded], tokenizer: Tokenizer, max_tokens: int) -> PaddedPairs:
    """Join each query with its document, cut to ``max_tokens`` in all, and fill up with padding.

    A document is cut first; a query only where it takes more than half of the room.
    """
    frame, filler = tokenizer.pair_frame, tokenizer.id_of("pad")
    room = max_tokens - sum(len(part.ids) for part in frame.around)
    rows = []
    for query, document in zip(queries, documents, strict=True):
        asked = query.ids[: max(room - len(document.ids), room // 2)]
        found = document.ids[: room - len(asked)]
        before, between, after = frame.around
        parts = (before.ids, asked, between.ids, found, after.ids)
        types = (before.types, [frame.types[0]] * len(asked), between.types, [frame.types[1]] * len(found), after.types)
        rows.append((np.concatenate(parts), np.concatenate(types)))
    lengths = np.array([len(ids) for ids, _ in rows])
    width = int(lengths.max(initial=0))
    ids_, types_ = np.full((len(rows), width), filler, np.int64), np.zeros((len(rows), width), np.int64)
    for row, (ids, kinds) in enumerate(rows):
        ids_[row, : len(ids)], types_[row, : len(ids)] = ids, kinds
    return PaddedPairs(ids_, np.arange(width) < lengths[:, None], types_)
