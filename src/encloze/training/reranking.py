"""What fine-tuning a re-ranker trains, and the batches it is trained on: queries, each with its own candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from encloze.data.corpus import Corpus
from encloze.data.records import Example
from encloze.losses.base import CandidateLoss, Candidates
from encloze.models.cross_encoder import CrossEncoder, PairTexts
from encloze.models.trainable import Terms, Trainable
from encloze.text.pairs import pad_pairs
from encloze.text.tokens import Tokens
from encloze.training.candidates import CandidateDraw


class RerankingBatch(NamedTuple):
    """Queries joined with their candidates, one pair after the other."""

    pairs: PairTexts
    there: Tensor  # bool, queries x candidates: where a query has fewer, there is no pair
    teacher: Tensor  # float32, queries x candidates
    terms: tuple[str, ...]

    def counts(self) -> dict[str, Tensor]:
        queries = torch.tensor(len(self.there), device=self.there.device)
        return dict.fromkeys(self.terms, queries)


class RerankingModule(Trainable):
    """A cross-encoder under one or more losses over a query's own candidates."""

    def __init__(self, encoder: CrossEncoder, losses: Sequence[CandidateLoss]) -> None:
        super().__init__()
        self.encoder, self.losses = encoder, tuple(losses)
        self.weights = {loss.term: loss.weight for loss in losses}

    def draw(self, batch: RerankingBatch) -> RerankingBatch:
        """Nothing is random here: the candidates were drawn with the batch."""
        return batch._replace(terms=(*self.weights, "right"))

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.model.base_model.parameters())

    def weights_at(self, done: float) -> dict[str, float]:
        return {loss.term: loss.weight_at(done) for loss in self.losses}

    def forward(self, batch: RerankingBatch) -> Terms:
        """The summed losses, and how many queries score their relevant document highest."""
        found = self.encoder(batch.pairs)
        scores = torch.zeros(batch.there.shape, device=found.device, dtype=found.dtype)
        scores = scores.masked_scatter(batch.there, found)
        candidates = Candidates(scores, batch.there, batch.teacher)
        sums = {loss.term: loss.sum_candidates(candidates) for loss in self.losses}
        best = scores.detach().masked_fill(~batch.there, float("-inf")).argmax(dim=1)
        return Terms(sums | {"right": (best == 0).sum()})


class RerankingBatches:
    """Makes batches from training examples; candidates are drawn from (seed, epoch, example)."""

    def __init__(
        self, encoder: CrossEncoder, corpus: Corpus, examples: Sequence[Example], *, negatives: int, seed: int
    ) -> None:
        self.encoder, self.draw = encoder, CandidateDraw(corpus, examples, negatives, seed)
        self.documents = Tokens.of(corpus.texts(), len(corpus), encoder.tokenizer, corpus.fingerprint)
        self.queries = encoder.tokenizer.encode([example.query for example in examples])
        both = self.documents.lengths[[example.positives[0] for example in examples]] + np.array(
            [len(query.ids) for query in self.queries]
        )
        self.lengths = np.minimum(both, encoder.max_tokens)

    def __call__(self, numbers: np.ndarray, epoch: int, device: torch.device) -> RerankingBatch:
        """The batch of the examples with these numbers."""
        drawn = self.draw(numbers, epoch)
        there = drawn.contents >= 0
        rows, _ = np.nonzero(there)
        asked = [self.queries[int(number)] for number in numbers[rows]]
        found = [self.documents[int(content)] for content in drawn.contents[there]]
        padded = pad_pairs(asked, found, self.encoder.tokenizer, self.encoder.max_tokens)
        there_, teacher = (torch.from_numpy(array).to(device) for array in (there, drawn.teacher))
        return RerankingBatch(PairTexts.of(padded, device), there_, teacher, ())
