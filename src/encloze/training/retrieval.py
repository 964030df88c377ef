"""Fine-tuning of a bi-encoder: the module to train, with losses that compare all queries and documents of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from encloze.data.records import Representation
from encloze.losses.base import Loss, ScoredBatch
from encloze.models.bi_encoder import BiEncoder
from encloze.models.trainable import EmbeddingBatch, LossOutput, Trainable
from encloze.training.candidates import Relevance
from encloze.training.retrieval_batches import RetrievalBatch
from encloze.training.sparsity import SparsityController

ACCURACY = "in_batch_accuracy"


class SampledBatch(NamedTuple):
    """A batch, with the names of the loss terms and metrics that are summed over its queries."""

    batch: RetrievalBatch
    terms: tuple[str, ...]

    def counts(self) -> dict[str, Tensor]:
        """Return the divisor of each summed loss term and metric: the number of queries in the batch."""
        queries = torch.tensor(len(self.batch.examples), device=self.batch.examples.device)
        return dict.fromkeys(self.terms, queries)


class RetrievalModule(Trainable):
    """A bi-encoder with one or more losses, which compare all queries of a step with all documents of the step.

    Args:
        encoder: The model to fine-tune.
        losses: Losses to minimize; their weighted sum is the objective.
        relevance: Relevant texts of each training example, used to mask false negatives.
    """

    has_global_losses = True

    def __init__(self, encoder: BiEncoder, losses: Sequence[Loss], relevance: Relevance) -> None:
        super().__init__()
        self.encoder, self.losses, self.relevance = encoder, tuple(losses), relevance
        self.loss_weights = {loss.term: loss.weight for loss in losses}
        self.sparsity_controller = SparsityController(len(self.losses))
        self._progress = 0.0
        views = [*encoder.views]
        logged = [ACCURACY, *(f"score_{view}" for view in views)]
        if "sparse" in views:
            logged += ["query_active_dims", "document_active_dims"]
        else:
            encoder.backbone.freeze_mlm_head()
        self._terms = (*self.loss_weights, *logged)

    def sample(self, batch: RetrievalBatch) -> SampledBatch:
        """Return the batch with ``terms`` set. Nothing is sampled here: the batch already has its candidates."""
        return SampledBatch(batch, self._terms)

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.backbone.encoder.parameters())

    def start_step(self, progress: float) -> None:
        self._progress = progress

    def loss_weights_at(self, progress: float) -> dict[str, float]:
        factors = self.sparsity_controller.factors()
        return {loss.term: loss.weight_at(progress) * factor for loss, factor in zip(self.losses, factors, strict=True)}

    def forward(self, sampled: SampledBatch) -> LossOutput:
        """Return the embeddings of queries and documents. The losses are computed later, by ``global_losses``."""
        batch = sampled.batch
        queries = _views_of(self.encoder(batch.queries, "query"))
        documents = zip(*(_views_of(self.encoder(part, "document")) for part in batch.documents), strict=True)
        query_ids = torch.cat([batch.examples[:, None], batch.candidates], dim=1)
        return LossOutput(
            {},
            (
                EmbeddingBatch((*queries, batch.teacher_scores), query_ids),
                EmbeddingBatch(tuple(map(torch.cat, documents)), batch.text_ids[:, None]),
            ),
        )

    def global_losses(self, embeddings: tuple[EmbeddingBatch, ...]) -> dict[str, Tensor]:
        """Compute the loss terms and metrics of a step, summed over its queries.

        Also update the controller that adjusts the weights of losses with a sparsity target.
        """
        scored = self.score(embeddings)
        sums = {loss.term: loss.compute(scored) for loss in self.losses}
        with torch.no_grad():
            for index, loss in enumerate(self.losses):
                if (target := loss.sparsity_target) is not None:
                    self.sparsity_controller.update(index, loss.active_dims(scored), target, self._progress)
            return sums | self._logged(scored)

    def score(self, embeddings: tuple[EmbeddingBatch, ...]) -> ScoredBatch:
        """Score all queries of a step against all distinct documents of the step.

        Args:
            embeddings: Embeddings of the queries, then those of the documents. The last tensor of the queries has
                their teacher scores instead. The group ids of a query are the index of its training example, followed
                by the text ids of its candidates. The group id of a document is its text id.

        Returns:
            The scores, and for each query the columns of its relevant document and of its candidates.
        """
        query_batch, document_batch = embeddings
        text_ids, inverse = torch.unique(document_batch.group_ids[:, 0], return_inverse=True)
        rows = torch.arange(len(inverse), device=inverse.device)
        first = torch.full_like(text_ids, len(inverse)).scatter_reduce(0, inverse, rows, "amin")
        queries = self._representation(query_batch.vectors[:-1])
        documents = self._representation([vectors[first] for vectors in document_batch.vectors])
        candidates = _columns(text_ids, query_batch.group_ids[:, 1:])
        target = candidates[:, 0]
        pruned_queries = self.encoder.prune(queries, "query", training=True)
        pruned_documents = self.encoder.prune(documents, "document", training=True)
        similarity, dense = self.encoder.config.similarity, self.encoder.config.dense
        return ScoredBatch(
            queries=pruned_queries,
            documents=pruned_documents,
            unpruned={"queries": queries, "documents": documents},
            similarity=similarity,
            scores=similarity.score(pruned_queries, pruned_documents),
            target=target,
            false_negative_mask=self._false_negatives(query_batch.group_ids[:, 0], text_ids, target),
            candidates=candidates,
            teacher_scores=query_batch.vectors[-1].detach(),
            is_normalized=bool(dense and dense.normalize),
        )

    def _false_negatives(self, examples: Tensor, text_ids: Tensor, target: Tensor) -> Tensor:
        """Return a mask (bool, queries x documents) of false negatives: relevant documents other than ``target``."""
        mask = torch.zeros(len(target), len(text_ids), dtype=torch.bool, device=target.device)
        rows, relevant = (
            torch.from_numpy(array).to(target.device) for array in self.relevance.lookup(examples.cpu().numpy())
        )
        columns = _columns(text_ids, relevant)
        mask[rows[columns >= 0], columns[columns >= 0]] = True
        return mask.scatter_(1, target[:, None], False)

    def _representation(self, vectors: Sequence[Tensor]) -> Representation:
        views = [view for view in Representation._fields if view in self.encoder.views]
        return Representation(**dict(zip(views, vectors, strict=True)))

    def _logged(self, scored: ScoredBatch) -> dict[str, Tensor]:
        """Return metrics that are logged but not part of the loss, summed over queries."""
        best = scored.scores.masked_fill(scored.false_negative_mask, float("-inf")).argmax(dim=1)
        sums = {ACCURACY: (best == scored.target).sum()}
        targets = Representation(*(None if view is None else view[scored.target] for view in scored.documents))
        for head in self.encoder.config.heads:
            products = getattr(scored.queries, head.view) * getattr(targets, head.view)
            sums[f"score_{head.view}"] = head.weight * products.sum()
        for name, texts in (("query_active_dims", "queries"), ("document_active_dims", "documents")):
            term_weights = scored.unpruned[texts].sparse  # type: ignore[index]
            if term_weights is not None:
                sums[name] = (term_weights > 0).sum(dim=1).float().mean() * len(scored.target)
        return sums


def _views_of(representation: Representation) -> tuple[Tensor, ...]:
    return tuple(view for view in representation if view is not None)


def _columns(text_ids: Tensor, ids: Tensor) -> Tensor:
    """Return the index of each of ``ids`` in ``text_ids`` (sorted, distinct), or -1 for an id that is not in it."""
    index = torch.searchsorted(text_ids, ids.contiguous()).clamp(max=len(text_ids) - 1)
    return torch.where(text_ids[index] == ids, index, -1)
