"""Base classes of the fine-tuning losses, and the scored batch from which a loss is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from encloze.data.records import Representation
from encloze.family import Family
from encloze.similarity import Similarity

Texts = Literal["queries", "documents"]


class SparsityTarget(NamedTuple):
    """Target for the number of active dimensions of sparse representations.

    The regularization weight is adapted during training to reach the target.
    """

    side: Texts
    """Texts whose representations are regularized: queries or documents."""
    active_dims: int
    """Target mean number of term weights above 0 per text."""
    ramp_ratio: float
    """Fraction of the training steps in which the target moves from the mean in the first step to ``active_dims``."""


class CandidateScores(NamedTuple):
    """Scores of each query's candidates: its relevant document (column 0) and its hard negatives (further columns)."""

    scores: Tensor
    """Scores of the trained model (float32, queries x candidates)."""
    candidate_mask: Tensor
    """True for candidates, False for the padding of queries with fewer candidates (bool, queries x candidates)."""
    teacher_scores: Tensor
    """Scores of a teacher model, NaN where there is no score (float32, queries x candidates)."""

    @property
    def has_teacher_score(self) -> Tensor:
        """True for each candidate that has a teacher score, else False (bool, queries x candidates)."""
        return self.candidate_mask & ~self.teacher_scores.isnan()


class ScoredBatch(NamedTuple):
    """Queries, documents and scores of one training step, gathered over all processes and micro-batches.

    Each distinct document occurs once. Every loss is computed only from this record.
    """

    queries: Representation
    """Embeddings or term weights of the queries, or both (float32, queries x dim or vocabulary)."""
    documents: Representation
    """Embeddings or term weights of the documents, or both (float32, documents x dim or vocabulary)."""
    unpruned: dict[Texts, Representation]
    """Representations of the ``queries`` and of the ``documents`` before top-k pruning of term weights. Regularizers
    use them."""
    similarity: Similarity
    """Similarity function by which ``scores`` were computed from the representations."""
    scores: Tensor
    """Score of every query with every document (float32, queries x documents)."""
    target: Tensor
    """Index of the column of ``scores`` that belongs to each query's relevant document (int64, one per query)."""
    false_negative_mask: Tensor
    """True for documents that are not the query's ``target``, but are also known to be relevant to the query. They must
    not be used as its negatives (bool, queries x documents)."""
    candidates: Tensor
    """Indexes of the columns of ``scores`` that belong to each query's relevant document (first) and hard negatives; -1
    for padding (int64, queries x candidates)."""
    teacher_scores: Tensor
    """Scores of a teacher model, NaN where there is no score (float32, queries x candidates)."""
    is_normalized: bool
    """Whether dense embeddings are L2-normalized."""

    @property
    def is_cosine(self) -> bool:
        """Whether ``scores`` are cosine similarities, possibly scaled by a constant (the weight of the dense head)."""
        return self.is_normalized and self.queries.sparse is None

    def for_view(self, view: Literal["dense", "sparse"]) -> ScoredBatch:
        """Return the batch with only its dense or only its sparse representations.

        Its scores are the inner products of these representations. They are not multiplied by the weight that the
        model gives to the dense or sparse head.

        Args:
            view: ``dense`` to keep the embeddings, ``sparse`` to keep the term weights.
        """
        queries, documents = (
            Representation(**{view: getattr(texts, view)}) for texts in (self.queries, self.documents)
        )
        similarity = Similarity()
        return self._replace(
            queries=queries, documents=documents, similarity=similarity, scores=similarity.score(queries, documents)
        )

    def candidate_scores(self) -> CandidateScores:
        """Return the scores of each query's candidates: its relevant document and its hard negatives."""
        scores = self.scores.gather(1, self.candidates.clamp(min=0))
        return CandidateScores(scores, self.candidates >= 0, self.teacher_scores)


@dataclass(frozen=True)
class Loss(Family):
    """Base class of the fine-tuning losses.

    A subclass implements ``compute``. The trainer divides its result by the number of queries of the step and
    multiplies it by ``weight_at(progress)``. The total loss is the sum over all losses of the recipe.

    Example:
        >>> Loss.from_name("contrastive").term
        'contrastive'
    """

    weight: float = field(default=1.0, kw_only=True)
    """Weight of this loss in the total loss."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be above 0, not {self.weight}")

    @property
    def term(self) -> str:
        """Name of this loss in the training log."""
        return self.name

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss requires teacher scores."""
        return False

    @property
    def needs_negatives(self) -> bool:
        """Whether the loss requires hard negatives."""
        return False

    def check_views(self, views: Mapping[str, int | None]) -> None:
        """Check that the model computes the dense or sparse representations that the loss requires.

        Args:
            views: Number of dimensions of each representation (``dense``, ``sparse``) that the model computes. None
                if the number is not known yet, before the model is loaded.

        Raises:
            ValueError: The model does not compute a required representation, or its number of dimensions is too small.
        """

    def configuration_warnings(self, cosine_scale: float) -> str:
        """Return a warning if the settings are valid but unlikely to result in a good model, else an empty string.

        Args:
            cosine_scale: Factor by which a cosine similarity is multiplied to give a score; 0 if scores are not
                cosines.
        """
        return ""

    def compute(self, batch: ScoredBatch) -> Tensor:
        """Compute the loss of a scored batch, summed over queries.

        Args:
            batch: Representations and scores of one training step.

        Returns:
            Scalar tensor.
        """
        raise NotImplementedError(type(self).__name__)

    @property
    def regularized_side(self) -> Texts | None:
        """Texts (queries or documents) whose term weights the loss regularizes; None if it is not a regularizer."""
        return None

    @property
    def sparsity_target(self) -> SparsityTarget | None:
        """Target number of active dimensions; None if the loss has no target, or is not a sparsity regularizer."""
        return None

    def weight_at(self, progress: float) -> float:
        """Return the weight of the loss in the total loss at a point of the training.

        Args:
            progress: Fraction of the training steps done, 0 to 1.
        """
        return self.weight

    def active_dims(self, batch: ScoredBatch) -> float:
        """Return the mean number of term weights above 0 per regularized text, to compare with ``sparsity_target``."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class CandidateLoss(Loss):
    """Base class of losses that use only each query's relevant document and hard negatives, no in-batch negatives.

    These losses can also train cross-encoders. A subclass implements ``compute_candidates``.
    """

    @property
    def needs_negatives(self) -> bool:
        return True

    def compute_candidates(self, candidates: CandidateScores) -> Tensor:
        """Compute the loss from the scores of each query's candidates, summed over queries.

        Args:
            candidates: Scores of each query's candidates; column 0 is the relevant document.

        Returns:
            Scalar tensor.
        """
        raise NotImplementedError(type(self).__name__)

    def compute(self, batch: ScoredBatch) -> Tensor:
        return self.compute_candidates(batch.candidate_scores())


def check_losses(losses: tuple[Loss, ...], *, has_teacher: bool, has_negatives: bool) -> None:
    """Check that the losses of a recipe are distinct, and that the recipe provides the inputs that they require.

    Args:
        losses: Losses of a recipe.
        has_teacher: Whether the recipe provides teacher scores.
        has_negatives: Whether the recipe provides hard negatives.

    Raises:
        ValueError: ``losses`` is empty, two losses have the same name in the log, or a required input is missing.
    """
    terms = [loss.term for loss in losses]
    if not terms or len(set(terms)) < len(terms):
        raise ValueError(f"losses must be one or more distinct losses, not {', '.join(terms) or 'none'}")
    if not has_teacher and (names := [loss.name for loss in losses if loss.needs_teacher]):
        raise ValueError(f"the loss {names[0]} requires teacher scores: set teacher")
    if not has_negatives and (names := [loss.name for loss in losses if loss.needs_negatives]):
        raise ValueError(
            f"the loss {names[0]} requires hard negatives: set negatives, and set negatives_per_query to 1 or more"
        )
