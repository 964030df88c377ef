"""Fine-tuning of a cross-encoder: the trained module, and batches of queries, each with candidate documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from encloze.data.corpus import Corpus
from encloze.data.records import TrainingExample
from encloze.losses.base import CandidateLoss, CandidateScores
from encloze.models.cross_encoder import CrossEncoder, PairBatch
from encloze.models.trainable import LossOutput, Trainable
from encloze.text.text_pairs import pad_pairs
from encloze.text.tokens import TokenizedTexts
from encloze.training.candidates import CandidateSampler

ACCURACY = "top1_accuracy"


class RerankingBatch(NamedTuple):
    """Tokenized pairs of a query and a candidate document, ordered by query."""

    pairs: PairBatch
    candidate_mask: Tensor
    """Whether there is a candidate (bool, queries x candidates): False at the padding of queries that have fewer
    candidates than the maximum."""
    teacher_scores: Tensor
    """Scores of the candidates by a teacher model (float32, queries x candidates); NaN if there is no score."""
    terms: tuple[str, ...]
    """Names of the loss terms and metrics, each summed over the queries of the batch."""

    def counts(self) -> dict[str, Tensor]:
        """Return the divisor of each summed loss term and metric: the number of queries in the batch."""
        queries = torch.tensor(len(self.candidate_mask), device=self.candidate_mask.device)
        return dict.fromkeys(self.terms, queries)


class RerankingModule(Trainable):
    """A cross-encoder with one or more losses, each computed over the candidates of each query.

    Args:
        encoder: The model to fine-tune.
        losses: Losses to minimize; their weighted sum is the objective.
    """

    def __init__(self, encoder: CrossEncoder, losses: Sequence[CandidateLoss]) -> None:
        super().__init__()
        self.encoder, self.losses = encoder, tuple(losses)
        self.loss_weights = {loss.term: loss.weight for loss in losses}

    def sample(self, batch: RerankingBatch) -> RerankingBatch:
        """Return the batch with ``terms`` set. Nothing is sampled here: the batch already has its candidates."""
        return batch._replace(terms=(*self.loss_weights, ACCURACY))

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.model.base_model.parameters())

    def loss_weights_at(self, progress: float) -> dict[str, float]:
        return {loss.term: loss.weight_at(progress) for loss in self.losses}

    def forward(self, batch: RerankingBatch) -> LossOutput:
        """Return the sums of the losses, and the number of queries whose relevant document has the highest score."""
        mask, pair_scores = batch.candidate_mask, self.encoder(batch.pairs)
        scores = torch.zeros(mask.shape, device=pair_scores.device, dtype=pair_scores.dtype)
        scores = scores.masked_scatter(mask, pair_scores)
        candidates = CandidateScores(scores, mask, batch.teacher_scores)
        sums = {loss.term: loss.compute_candidates(candidates) for loss in self.losses}
        best = scores.detach().masked_fill(~mask, float("-inf")).argmax(dim=1)
        return LossOutput(sums | {ACCURACY: (best == 0).sum()})


class RerankingBatches:
    """Creates batches of queries with candidate documents from training examples.

    Args:
        encoder: Model whose tokenizer and maximum number of tokens are used.
        corpus: The documents.
        examples: Training examples, which refer to documents by their index in the corpus.
        negatives: Number of hard negatives per query.
        seed: Seed of the sampling of candidates.

    Raises:
        DataError: All documents have the same text.
    """

    def __init__(
        self, encoder: CrossEncoder, corpus: Corpus, examples: Sequence[TrainingExample], *, negatives: int, seed: int
    ) -> None:
        self.encoder, self.sampler = encoder, CandidateSampler(corpus, examples, negatives, seed)
        self.documents = TokenizedTexts.from_texts(corpus.texts(), len(corpus), encoder.tokenizer, corpus.fingerprint)
        self.queries = encoder.tokenizer.encode([example.query for example in examples])
        query_lengths = np.array([len(query.ids) for query in self.queries])
        document_lengths = self.documents.lengths[[example.positives[0] for example in examples]]
        self.lengths = np.minimum(document_lengths + query_lengths, encoder.max_tokens)

    def __call__(self, examples: np.ndarray, epoch: int, device: torch.device) -> RerankingBatch:
        """Return the batch of examples with the given indices (int64, ``(queries,)``)."""
        sampled = self.sampler(examples, epoch)
        is_candidate = sampled.text_ids >= 0
        rows, _ = np.nonzero(is_candidate)
        queries = [self.queries[int(index)] for index in examples[rows]]
        documents = [self.documents[int(index)] for index in sampled.text_ids[is_candidate]]
        padded = pad_pairs(queries, documents, self.encoder.tokenizer, self.encoder.max_tokens)
        mask, teacher_scores = (torch.from_numpy(array).to(device) for array in (is_candidate, sampled.teacher_scores))
        return RerankingBatch(PairBatch.from_padded(padded, device), mask, teacher_scores, ())
