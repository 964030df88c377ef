"""What fine-tuning trains, and the batches it is trained on: queries, documents, and who belongs to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from encloze.data.corpus import Corpus
from encloze.data.records import Example, Representation
from encloze.losses.base import Loss, Scored
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.base import Texts
from encloze.models.trainable import Rows, Terms, Trainable
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import Tokens
from encloze.training.aiming import Aiming
from encloze.training.candidates import CandidateDraw, Relevance
from encloze.training.perturbing import Perturbing

_SCORE, _ACTIVE = "score_{}", "active_{}"  # logged: what each view adds to a target's score, and weights above 0


class RetrievalBatch(NamedTuple):
    """Queries with their candidates, and the distinct documents of these. Candidates begin with a relevant one."""

    queries: Texts
    documents: Texts
    examples: Tensor  # int64, queries: numbers of examples
    candidates: Tensor  # int64, queries x candidates: numbers of texts, -1 where a query has fewer
    teacher: Tensor  # float32, queries x candidates: a teacher's scores, NaN where there is none
    contents: Tensor  # int64, documents: numbers of texts


class Drawn(NamedTuple):
    """A batch and the terms that are summed over its queries."""

    batch: RetrievalBatch
    terms: tuple[str, ...]

    def counts(self) -> dict[str, Tensor]:
        queries = torch.tensor(len(self.batch.examples), device=self.batch.examples.device)
        return dict.fromkeys(self.terms, queries)


class RetrievalModule(Trainable):
    """A bi-encoder under one or more losses, which compare all queries of a step with all its documents."""

    compares = True

    def __init__(self, encoder: BiEncoder, losses: Sequence[Loss], relevance: Relevance) -> None:
        super().__init__()
        self.encoder, self.losses, self.relevance = encoder, tuple(losses), relevance
        self.weights = {loss.term: loss.weight for loss in losses}
        self.aiming, self._done = Aiming(len(self.losses)), 0.0
        views = [*encoder.views]
        logged = ["right", *map(_SCORE.format, views)]
        logged += [_ACTIVE.format(side) for side in ("queries", "documents") if "sparse" in views]
        self.terms = (*self.weights, *logged)
        if "sparse" not in views:
            encoder.backbone.keep_head()

    def draw(self, batch: RetrievalBatch) -> Drawn:
        """Nothing is random here: positives and negatives were drawn with the batch."""
        return Drawn(batch, self.terms)

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.backbone.encoder.parameters())

    def weights_at(self, done: float) -> dict[str, float]:
        self._done, factors = done, self.aiming.factors()
        return {loss.term: loss.weight_at(done) * factor for loss, factor in zip(self.losses, factors, strict=True)}

    def forward(self, drawn: Drawn) -> Terms:
        """The views of the queries and of the documents, to be compared with those of the whole step."""
        batch = drawn.batch
        queries, documents = self.encoder(batch.queries, "query"), self.encoder(batch.documents, "document")
        asking = torch.cat([batch.examples[:, None], batch.candidates], dim=1)
        return Terms(
            {},
            (
                Rows((*_there(queries), batch.teacher), asking),
                Rows(_there(documents), batch.contents[:, None]),
            ),
        )

    def compare(self, compared: tuple[Rows, ...]) -> dict[str, Tensor]:
        scored = self.scored(compared)
        sums = {loss.term: loss.sum(scored) for loss in self.losses}
        with torch.no_grad():
            self._aim(scored)
            return sums | self._logged(scored)

    def scored(self, compared: tuple[Rows, ...]) -> Scored:
        """Queries and documents of a whole step, each text once, scored by what counts of their views."""
        asking, found = compared
        contents, inverse = torch.unique(found.marks[:, 0], return_inverse=True)
        places = torch.arange(len(inverse), device=inverse.device)
        first = torch.full_like(contents, len(inverse)).scatter_reduce(0, inverse, places, "amin")
        queries, documents = self._views(asking.vectors[:-1]), self._views([rows[first] for rows in found.vectors])
        candidates = _columns(contents, asking.marks[:, 1:])
        target = candidates[:, 0]
        left_out = torch.zeros(len(target), len(contents), dtype=torch.bool, device=target.device)
        rows, relevant = (
            torch.from_numpy(array).to(target.device)
            for array in self.relevance.of_examples(asking.marks[:, 0].cpu().numpy())
        )
        columns = _columns(contents, relevant)
        left_out[rows[columns >= 0], columns[columns >= 0]] = True
        left_out.scatter_(1, target[:, None], False)
        kept = self.encoder.kept
        counting = kept(queries, "query", training=True), kept(documents, "document", training=True)
        similarity, dense = self.encoder.similarity, self.encoder.card.dense
        return Scored(
            *counting,
            {"queries": queries, "documents": documents},
            similarity,
            similarity.score(*counting),
            target,
            left_out,
            candidates,
            asking.vectors[-1].detach(),
            bool(dense and dense.normalise),
        )

    def _views(self, vectors: Sequence[Tensor]) -> Representation:
        return Representation(**dict(zip(self._order(), vectors, strict=True)))

    def _order(self) -> list[str]:
        return [view for view in Representation._fields if view in self.encoder.views]

    def _aim(self, scored: Scored) -> None:
        """Move the weights of losses that aim at something."""
        for number, loss in enumerate(self.losses):
            if (aim := loss.aim(scored)) is not None:
                self.aiming.move(number, aim, self._done)

    def _logged(self, scored: Scored) -> dict[str, Tensor]:
        """Sums over the queries of what is only looked at."""
        best = scored.scores.masked_fill(scored.left_out, float("-inf")).argmax(dim=1)
        found = {"right": (best == scored.target).sum()}
        targets = Representation(*(None if v is None else v[scored.target] for v in scored.documents))
        for head in self.encoder.card.heads:
            pairs = getattr(scored.queries, head.view) * getattr(targets, head.view)
            found[_SCORE.format(head.view)] = head.weight * pairs.sum()
        for side, views in scored.uncut.items():
            weights = views.sparse
            if weights is not None:
                found[_ACTIVE.format(side)] = (weights > 0).sum(dim=1).float().mean() * len(scored.target)
        return found


class RetrievalBatches:
    """Makes batches from training examples; candidates are drawn from (seed, epoch, example)."""

    def __init__(
        self,
        encoder: BiEncoder,
        corpus: Corpus,
        examples: Sequence[Example],
        *,
        negatives: int,
        seed: int,
        perturbing: Perturbing | None = None,
    ) -> None:
        self.encoder, self.draw = encoder, CandidateDraw(corpus, examples, negatives, seed)
        self.perturbing = perturbing
        card, tokenizer = encoder.card, encoder.tokenizer
        key = hashlib.sha256(f"{corpus.fingerprint}\0{card.document_prompt}".encode()).hexdigest()[:32]
        texts = (card.document_prompt + text for text in corpus.texts())
        self.documents = Tokens.of(texts, len(corpus), tokenizer, key)
        self.queries = tokenizer.encode([card.query_prompt + example.query for example in examples])
        self.lengths = np.array([len(query.ids) for query in self.queries]) + np.minimum(
            self.documents.lengths[[example.positives[0] for example in examples]], card.max_document_tokens
        )

    @property
    def relevance(self) -> Relevance:
        return self.draw.relevance

    def __call__(self, numbers: np.ndarray, epoch: int, device: torch.device) -> RetrievalBatch:
        """The batch of the examples with these numbers."""
        drawn = self.draw(numbers, epoch)
        contents = np.array(list(dict.fromkeys(drawn.contents[drawn.contents >= 0].tolist())), np.int64)
        queries = self.encoder.texts([self._query(int(number), epoch) for number in numbers], "query", device)
        documents = self.encoder.texts([self.documents[int(n)] for n in contents], "document", device)
        arrays = (numbers.astype(np.int64), drawn.contents, drawn.teacher, contents)
        tensors: list[Any] = [torch.from_numpy(array).to(device) for array in arrays]
        return RetrievalBatch(queries, documents, *tensors)

    def _query(self, number: int, epoch: int) -> Encoded:
        """An example's query, which is tokenised anew where it is perturbed; a prompt before it never is."""
        text = self.draw.examples[number].query
        asked = self.perturbing(text, number, epoch) if self.perturbing else text
        if asked == text:
            return self.queries[number]
        return self.encoder.tokenizer.encode([self.encoder.card.query_prompt + asked])[0]


def _there(views: Representation) -> tuple[Tensor, ...]:
    return tuple(view for view in views if view is not None)


def _columns(contents: Tensor, wanted: Tensor) -> Tensor:
    """Where numbers stand among ``contents``, which are in order and each once; -1 where they do not."""
    at = torch.searchsorted(contents, wanted.contiguous()).clamp(max=len(contents) - 1)
    return torch.where(contents[at] == wanted, at, -1)
