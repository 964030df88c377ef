"""Static query encoders: training texts that are as short as queries, and initial embeddings of tokens.

The initial embedding of a token is the vector that the teacher computes for the token alone, as in model2vec
(https://github.com/MinishLab/model2vec).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from encloze import progress
from encloze.data.chunkers.base import Chunker
from encloze.data.chunkers.sentences import Sentences
from encloze.data.corpus import Corpus
from encloze.data.hash_sampling import hash_to_unit_interval
from encloze.models.bi_encoder import BiEncoder
from encloze.text.tokenizer import Encoded

_MAX_WORDS = 20  # of a passage
_BATCH = 512


def short_texts(corpus: Corpus, queries: Sequence[str], count: int, seed: int) -> list[str]:
    """Return queries, and titles and passages of documents in a random sample.

    A passage has whole sentences, as many as fit into 20 words; longer sentences are divided.

    Args:
        corpus: The documents.
        queries: Queries; all are returned.
        count: Maximum number of texts. The queries count, too.
        seed: Seed of the sample.
    """
    chunker = Sentences(max_words=_MAX_WORDS)
    titled = progress.track(_of_documents(corpus, chunker), "Dividing documents into", unit="passages")
    others = sorted(set(titled), key=lambda text: hash_to_unit_interval(f"{seed} {text}"))
    return [*queries, *others[: max(0, count - len(queries))]]


@torch.inference_mode()
def token_embeddings(teacher: BiEncoder) -> Tensor:
    """Return the embedding that the teacher computes for each token as a query: float32, vocabulary x dim."""
    teacher.eval()
    rows, count = list[Tensor](), int(teacher.backbone.config.vocab_size)
    prompt = teacher.tokenizer.encode([teacher.config.query_prompt])[0]
    with progress.task("Encoding", count, "tokens") as task:
        for start in range(0, count, _BATCH):
            ids = np.arange(start, min(start + _BATCH, count), dtype=np.int32)
            tokens = [_with_token(prompt, token) for token in ids]
            vectors = teacher(teacher.collate(tokens, "query", teacher.device), "query").dense
            assert vectors is not None  # the teacher has a dense head
            rows.append(vectors.float())
            task.advance(len(ids))
    return torch.cat(rows)


def _with_token(prompt: Encoded, token: np.int32) -> Encoded:
    return Encoded(np.append(prompt.ids, token), np.append(prompt.word_starts, True))


def _of_documents(corpus: Corpus, chunker: Chunker) -> Iterator[str]:
    for document in corpus:
        yield from filter(None, (document.title.strip(),))
        yield from (document.text[passage.begin : passage.end].strip() for passage in chunker.cut(document.text))
