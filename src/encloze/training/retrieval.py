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
from encloze.text.tokens import Tokens, pad

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


class Relevance(NamedTuple):
    """The relevant texts of each example, one after the other."""

    begins: np.ndarray  # int64, examples + 1
    contents: np.ndarray  # int64: numbers of texts

    @classmethod
    def of(cls, examples: Sequence[Example], content: np.ndarray) -> Relevance:
        """Queries of the same words are one question: what is relevant to one is so to the other."""
        by_query: dict[str, set[int]] = {}
        for example in examples:
            by_query.setdefault(example.query, set()).update(int(content[n]) for n in example.positives)
        known = [sorted(by_query[example.query]) for example in examples]
        begins = np.concatenate([[0], np.cumsum([len(some) for some in known])]).astype(np.int64)
        return cls(begins, np.array([number for some in known for number in some], np.int64))

    def of_examples(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The relevant texts of some examples: the row of each and its number."""
        sizes = self.begins[numbers + 1] - self.begins[numbers]
        rows = np.repeat(np.arange(len(numbers)), sizes)
        inside = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return rows, self.contents[self.begins[numbers][rows] + inside]


class RetrievalModule(Trainable):
    """A bi-encoder under one or more losses, which compare all queries of a step with all its documents."""

    compares = True
    scales: Tensor

    def __init__(self, encoder: BiEncoder, losses: Sequence[Loss], relevance: Relevance) -> None:
        super().__init__()
        self.encoder, self.losses, self.relevance = encoder, tuple(losses), relevance
        self.weights = {loss.term: loss.weight for loss in losses}
        # What losses that aim at something have made of their weights; saved, so that a resumed run goes on with it.
        self.register_buffer("scales", torch.ones(len(self.losses), dtype=torch.float64))
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
        scales = self.scales.tolist()
        return {loss.term: loss.weight_at(done) * scale for loss, scale in zip(self.losses, scales, strict=True)}

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
            queries,
            documents,
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
            if (factor := loss.scale(scored)) is not None:
                self.scales[number] *= factor

    def _logged(self, scored: Scored) -> dict[str, Tensor]:
        """Sums over the queries of what is only looked at."""
        best = scored.scores.masked_fill(scored.left_out, float("-inf")).argmax(dim=1)
        found = {"right": (best == scored.target).sum()}
        targets = Representation(*(None if v is None else v[scored.target] for v in scored.documents))
        for head in self.encoder.card.heads:
            pairs = getattr(scored.queries, head.view) * getattr(targets, head.view)
            found[_SCORE.format(head.view)] = head.weight * pairs.sum()
        for side in ("queries", "documents"):
            weights = getattr(scored, side).sparse
            if weights is not None:
                found[_ACTIVE.format(side)] = (weights > 0).sum(dim=1).float().mean() * len(scored.target)
        return found


class RetrievalBatches:
    """Makes batches from training examples.

    Each epoch a query takes one of its relevant documents and ``negatives`` of its hard negatives, drawn from (seed,
    epoch, example). Documents with the same text are one document, so no copy of a positive is ever a negative.
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
        self.relevance = Relevance.of(examples, self.content)
        self.lengths = np.array([len(query.ids) for query in self.queries]) + np.minimum(
            self.documents.lengths[[example.positives[0] for example in examples]], card.max_document_tokens
        )

    def __call__(self, numbers: np.ndarray, epoch: int, device: torch.device) -> RetrievalBatch:
        """The batch of the examples with these numbers."""
        drawn = [self._drawn(int(number), epoch) for number in numbers]
        candidates = np.full((len(numbers), 1 + self.negatives), -1, np.int64)
        teacher = np.full(candidates.shape, np.nan, np.float32)
        for row, (documents, scores) in enumerate(drawn):
            candidates[row, : len(documents)] = self.content[documents]
            teacher[row, : len(scores)] = scores
        contents = np.array(list(dict.fromkeys(candidates[candidates >= 0].tolist())), np.int64)
        card, tokenizer = self.encoder.card, self.encoder.tokenizer
        queries = pad([self.queries[int(number)] for number in numbers], tokenizer, card.max_query_tokens)
        documents_ = pad([self.documents[int(n)] for n in contents], tokenizer, card.max_document_tokens)
        arrays = (numbers.astype(np.int64), candidates, teacher, contents)
        tensors: list[Any] = [torch.from_numpy(array).to(device) for array in arrays]
        return RetrievalBatch(Texts.of(queries, device), Texts.of(documents_, device), *tensors)

    def _drawn(self, number: int, epoch: int) -> tuple[list[int], list[float]]:
        """The documents that an example takes in an epoch, a positive first, and a teacher's scores of them."""
        example, draw = self.examples[number], np.random.default_rng([self.seed, epoch, number])
        scores = np.array(example.positive_scores or [0.0] * len(example.positives))
        known_to_teacher = np.flatnonzero(~np.isnan(scores))
        at = int(known_to_teacher[draw.integers(len(known_to_teacher))])
        begin, end = self.relevance.begins[number], self.relevance.begins[number + 1]
        known = set(self.relevance.contents[begin:end].tolist())
        against = [n for n, document in enumerate(example.negatives) if int(self.content[document]) not in known]
        count = min(self.negatives, len(against))
        chosen = [against[n] for n in draw.choice(len(against), count, replace=False)] if count else []
        documents = [example.positives[at], *(example.negatives[n] for n in chosen)]
        if not example.positive_scores:
            return documents, []
        return documents, [example.positive_scores[at], *(example.negative_scores[n] for n in chosen)]


def _there(views: Representation) -> tuple[Tensor, ...]:
    return tuple(view for view in views if view is not None)


def _columns(contents: Tensor, wanted: Tensor) -> Tensor:
    """Where numbers stand among ``contents``, which are in order and each once; -1 where they do not."""
    at = torch.searchsorted(contents, wanted.contiguous()).clamp(max=len(contents) - 1)
    return torch.where(contents[at] == wanted, at, -1)
