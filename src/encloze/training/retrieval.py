"""What fine-tuning trains, and the batches it is trained on: queries, documents, and who belongs to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from encloze.data.corpus import Corpus
from encloze.data.records import Example
from encloze.losses.base import Loss, Scored
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.dense import Dense
from encloze.models.trainable import Terms, Trainable
from encloze.similarity import score
from encloze.text.tokens import Padded, Tokens, pad


class RetrievalBatch(NamedTuple):
    """Queries and the distinct documents of their positives and negatives. All tensors."""

    query_ids: Tensor  # int64, queries x length
    query_attention: Tensor  # bool, queries x length
    document_ids: Tensor  # int64, documents x length
    document_attention: Tensor  # bool, documents x length
    target: Tensor  # int64, queries
    left_out: Tensor  # bool, queries x documents

    def counts(self) -> dict[str, Tensor]:
        queries = torch.tensor(len(self.target), device=self.target.device)
        return {"loss": queries, "right": queries}


class RetrievalModule(Trainable):
    """A bi-encoder under a loss."""

    def __init__(self, encoder: BiEncoder, loss: Loss) -> None:
        super().__init__()
        self.encoder, self.loss = encoder, loss
        self.weights = {"loss": 1.0}
        encoder.backbone.keep_head()

    def draw(self, batch: RetrievalBatch) -> RetrievalBatch:
        """Nothing is random here: positives and negatives were drawn with the batch."""
        return batch

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.backbone.encoder.parameters())

    def forward(self, batch: RetrievalBatch) -> Terms:
        """The summed loss, and how many queries rank their document first in the batch."""
        queries = self.encoder(batch.query_ids, batch.query_attention)
        documents = self.encoder(batch.document_ids, batch.document_attention)
        with torch.autocast(queries.device.type, enabled=False):  # cosines in bfloat16 have two digits and a half
            scores = score(queries.float(), documents.float())
        scored = Scored(scores, batch.target, batch.left_out)
        head = self.encoder.card.head
        loss = self.loss.sum(scored, normalised=isinstance(head, Dense) and head.normalise)
        best = scores.masked_fill(batch.left_out, float("-inf")).argmax(dim=1)
        return Terms({"loss": loss, "right": (best == batch.target).sum()})


class RetrievalBatches:
    """Makes batches from training examples.

    Each epoch a query takes one of its relevant documents and ``negatives`` of its hard negatives, drawn from (seed,
    epoch, example). Documents with the same text are one document, so no copy of a positive is ever a negative; other
    relevant documents of a query are left out of its comparison.
    """

    def __init__(
        self, encoder: BiEncoder, corpus: Corpus, examples: Sequence[Example], *, negatives: int, seed: int
    ) -> None:
        self.encoder, self.examples, self.negatives, self.seed = encoder, examples, negatives, seed
        card, tokenizer = encoder.card, encoder.tokenizer
        key = hashlib.sha256(f"{corpus.fingerprint}\0{card.document_prompt}".encode()).hexdigest()[:32]
        texts = (card.document_prompt + text for text in corpus.texts())
        self.documents = Tokens.of(texts, len(corpus), tokenizer, key)
        self.queries = tokenizer.encode([card.query_prompt + example.query for example in examples])
        first: dict[bytes, int] = {}  # by digest: the texts themselves may be more than memory holds
        digests = (hashlib.blake2b(text.encode(), digest_size=16).digest() for text in corpus.texts())
        self.content = np.array([first.setdefault(digest, number) for number, digest in enumerate(digests)])
        self.lengths = np.array([len(query.ids) for query in self.queries]) + np.minimum(
            self.documents.lengths[[example.positives[0] for example in examples]], card.max_document_tokens
        )

    def __call__(self, numbers: np.ndarray, epoch: int, device: torch.device) -> RetrievalBatch:
        """The batch of the examples with these numbers."""
        positives, negatives = zip(*(self._drawn(int(number), epoch) for number in numbers), strict=True)
        columns: dict[int, int] = {}
        for document in [*positives, *(document for some in negatives for document in some)]:
            columns.setdefault(int(self.content[document]), len(columns))
        target = np.array([columns[int(self.content[document])] for document in positives])
        left_out = np.zeros((len(numbers), len(columns)), bool)
        for row, number in enumerate(numbers):
            for document in self.examples[int(number)].positives:
                column = columns.get(int(self.content[document]))
                if column is not None and column != target[row]:
                    left_out[row, column] = True
        card, tokenizer = self.encoder.card, self.encoder.tokenizer
        queries = pad([self.queries[int(number)] for number in numbers], tokenizer, card.max_query_tokens)
        documents = pad([self.documents[document] for document in columns], tokenizer, card.max_document_tokens)
        return RetrievalBatch(
            *_tensors(queries, device),
            *_tensors(documents, device),
            torch.from_numpy(target).to(device),
            torch.from_numpy(left_out).to(device),
        )

    def _drawn(self, number: int, epoch: int) -> tuple[int, list[int]]:
        """The positive and the negatives that an example takes in an epoch."""
        example, draw = self.examples[number], np.random.default_rng([self.seed, epoch, number])
        positive = example.positives[int(draw.integers(len(example.positives)))]
        known = {int(self.content[document]) for document in example.positives}
        against = [document for document in example.negatives if int(self.content[document]) not in known]
        count = min(self.negatives, len(against))
        return positive, [against[at] for at in draw.choice(len(against), count, replace=False)] if count else []


def _tensors(padded: Padded, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(padded.ids).to(device), torch.from_numpy(padded.attention).to(device)
