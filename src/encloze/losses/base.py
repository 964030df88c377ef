"""A loss: what a step's queries and documents are to each other in, a sum over the queries out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from encloze.data.records import Representation
from encloze.family import Family
from encloze.similarity import Similarity


class Aim(NamedTuple):
    """A number that a loss is to bring down, by a weight that is found on the way."""

    now: float
    wanted: float
    ramp_share: float
    """Share of the steps in which it should come down."""


class Wanted(NamedTuple):
    """How many weights above 0 a text should have."""

    side: Literal["queries", "documents"]
    terms: int


class Candidates(NamedTuple):
    """Each query's own candidates, the relevant one first. Shapes: queries, candidates."""

    scores: Tensor  # float32, queries x candidates
    there: Tensor  # bool, queries x candidates: false where a query has fewer
    teacher: Tensor  # float32, queries x candidates: scores of a teacher, NaN where there is none

    @property
    def taught(self) -> Tensor:
        """Which candidates a teacher scored: bool, queries x candidates."""
        return self.there & ~self.teacher.isnan()


class Scored(NamedTuple):
    """The one thing a loss sees: all queries and distinct documents of a step, over all processes and parts.

    Shapes: queries, documents, candidates (of a query: its relevant document first, then its own negatives).
    """

    queries: Representation  # tensors: float32, queries x width or vocabulary: what of them counts in scores
    documents: Representation  # tensors: float32, documents x width or vocabulary: what of them counts in scores
    uncut: dict[Literal["queries", "documents"], Representation]  # the same, whatever number of terms counts
    similarity: Similarity
    scores: Tensor  # float32, queries x documents
    target: Tensor  # int64, queries: the column of the document that should win
    left_out: Tensor  # bool, queries x documents: other documents known to be relevant, which are no negatives
    candidates: Tensor  # int64, queries x candidates: columns; -1 where a query has fewer
    teacher: Tensor  # float32, queries x candidates: scores of a teacher, NaN where there is none
    is_normalised: bool  # whether embeddings have length 1

    @property
    def is_cosine(self) -> bool:
        """Whether scores are cosines, but for their weight."""
        return self.is_normalised and self.queries.sparse is None

    def of_view(self, view: Literal["dense", "sparse"]) -> Scored:
        """The same step, scored by one view alone."""
        queries, documents = (
            Representation(**{view: getattr(texts, view)}) for texts in (self.queries, self.documents)
        )
        alone = Similarity()
        return self._replace(
            queries=queries, documents=documents, similarity=alone, scores=alone.score(queries, documents)
        )

    def of_candidates(self) -> Candidates:
        """Each query's own candidates alone."""
        return Candidates(self.scores.gather(1, self.candidates.clamp(min=0)), self.candidates >= 0, self.teacher)


@dataclass(frozen=True)
class Loss(Family):
    """What a fine-tuning run lowers, alone or with others."""

    weight: float = field(default=1.0, kw_only=True)
    """What it counts in the sum that is lowered."""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be above 0, not {self.weight}")

    @property
    def term(self) -> str:
        """Its name in the log."""
        return self.name

    @property
    def needs_teacher(self) -> bool:
        """Whether it learns from a teacher's scores."""
        return False

    @property
    def needs_negatives(self) -> bool:
        """Whether it has nothing to learn from where queries have no hard negatives."""
        return False

    def check(self, views: Mapping[str, int | None]) -> None:
        """Raise ValueError where the views are not what it needs; each comes with its width, None if not known."""

    def doubts(self, cosines: float) -> str:
        """What a user should know before training, if anything: scores are so many times a cosine; 0 is no cosines."""
        return ""

    def sum(self, scored: Scored) -> Tensor:
        """The sum over the queries."""
        raise NotImplementedError(type(self).__name__)

    @property
    def priced(self) -> Literal["queries", "documents"] | None:
        """Whose term weights it puts a price on, where it does."""
        return None

    @property
    def wanted(self) -> Wanted | None:
        """How many weights above 0 it should leave of a text, where its weight is moved to come there."""
        return None

    def weight_at(self, done: float) -> float:
        """Its weight after a share of the steps."""
        return self.weight

    def aim(self, scored: Scored) -> Aim | None:
        """What its weight should be moved by, where it is; see ``training/aiming.py``."""
        return None


@dataclass(frozen=True)
class CandidateLoss(Loss):
    """A loss that compares nothing but a query's own candidates, as a re-ranker does."""

    @property
    def needs_negatives(self) -> bool:
        return True

    def sum_candidates(self, candidates: Candidates) -> Tensor:
        """The sum over the queries."""
        raise NotImplementedError(type(self).__name__)

    def sum(self, scored: Scored) -> Tensor:
        return self.sum_candidates(scored.of_candidates())


def check_together(losses: tuple[Loss, ...], *, has_teacher: bool, has_negatives: bool) -> None:
    """Raise ValueError where losses cannot be lowered together, or learn from something that is not there."""
    terms = [loss.term for loss in losses]
    if not terms or len(set(terms)) < len(terms):
        raise ValueError(f"losses must name one or more, none twice, not {', '.join(terms) or 'none'}")
    if (learning := [loss.name for loss in losses if loss.needs_teacher]) and not has_teacher:
        raise ValueError(f"the loss {learning[0]} learns from a teacher's scores: give them as teacher")
    if (learning := [loss.name for loss in losses if loss.needs_negatives]) and not has_negatives:
        raise ValueError(
            f"the loss {learning[0]} compares a query's relevant document with its own negatives: give them as "
            "negatives, and negatives_per_query of 1 or more"
        )
