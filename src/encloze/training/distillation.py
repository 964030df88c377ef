"""Distillation of a bi-encoder: a student is trained to compute the embeddings or term weights of a teacher.

Embedding distillation by the squared distance follows Reimers and Gurevych (EMNLP 2020,
https://arxiv.org/abs/2004.09813). A student with some of the teacher's layers follows DistilBERT (Sanh et al., 2019,
https://arxiv.org/abs/1910.01108).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor, nn

from encloze.data.corpus import Corpus
from encloze.data.records import Representation
from encloze.encoders.base import Encoder
from encloze.execution.encodings import encode_corpus
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.base import Side, TextBatch
from encloze.models.trainable import LossOutput, Trainable
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import TokenizedTexts

TERMS = {"dense": "embedding_distillation", "sparse": "term_weight_distillation"}
"""Name of the loss term of each kind of vector."""
_QUERIES = 1024  # encoded by the teacher at a time


class TeacherVectors:
    """The teacher's vectors of all training texts: first those of the documents, then those of the queries.

    Embeddings are stored in a file and read from it batch by batch; term weights are kept in memory.

    Args:
        teacher: The teacher.
        corpus: The documents; None if only queries are trained on.
        queries: The queries.
        file: File to write the embeddings to.
        views: Kinds of vectors; by default all that the teacher computes.
    """

    def __init__(
        self,
        teacher: Encoder,
        corpus: Corpus | None,
        queries: Sequence[str],
        file: Path,
        views: Sequence[str] = ("dense", "sparse"),
    ) -> None:
        count = (0 if corpus is None else len(corpus)) + len(queries)
        dims = {view: dim for view, dim in teacher.views.items() if view in views}
        self._dense = None
        if "dense" in dims:
            self._dense = np.lib.format.open_memmap(file, "w+", np.float32, (count, dims["dense"]))
        term_weights, done = list[csr_matrix](), 0
        self.scales = dict.fromkeys(dims, 0.0)
        """Mean squared norm of the vectors of each kind, by which squared distances are divided."""
        for part in _parts(teacher, corpus, queries):
            if self._dense is not None:
                self._dense[done : done + part.num_texts] = part.dense
                self.scales["dense"] += float(np.vdot(part.dense, part.dense)) / count
            if "sparse" in dims:
                assert part.sparse is not None
                term_weights.append(part.sparse)
                self.scales["sparse"] += float(np.vdot(part.sparse.data, part.sparse.data)) / count
            done += part.num_texts
        self._sparse = vstack(term_weights, "csr") if term_weights else None

    def __call__(self, rows: np.ndarray, device: torch.device) -> Representation:
        """Return the vectors of the training texts with the given indices, as tensors."""
        dense = None if self._dense is None else torch.from_numpy(self._dense[rows]).to(device)
        sparse = None if self._sparse is None else torch.from_numpy(self._sparse[rows].toarray()).to(device)
        return Representation(dense, sparse)


class TextPart(NamedTuple):
    """The documents or the queries of a batch, with the teacher's vectors."""

    side: Side
    texts: TextBatch
    targets: Representation


class DistillationBatch(NamedTuple):
    """A batch of documents, queries or both."""

    parts: tuple[TextPart, ...]
    size: Tensor
    """Number of texts."""
    terms: tuple[str, ...]
    """Names of the loss terms, each summed over the texts of the batch."""

    def counts(self) -> dict[str, Tensor]:
        """Return the divisor of each summed loss term: the number of texts in the batch."""
        return dict.fromkeys(self.terms, self.size)


class DistillationModule(Trainable):
    """A bi-encoder that is trained to compute the vectors of a teacher.

    The loss is the squared distance of the student's and the teacher's vectors, divided by the mean squared norm of the
    teacher's vectors. For normalized embeddings, it is 2 - 2 x cosine similarity. A student with embeddings and term
    weights minimizes the sum of both losses.

    Args:
        student: The model to train. It computes the same kinds of vectors as the teacher, with the same dimensions.
        scales: Mean squared norm of the teacher's vectors of each kind (``TeacherVectors.scales``).
    """

    def __init__(self, student: BiEncoder, scales: dict[str, float]) -> None:
        super().__init__()
        self.student, self._scales = student, scales
        self.loss_weights = {TERMS[view]: 1.0 for view in scales}
        if "sparse" not in scales:
            student.backbone.freeze_mlm_head()

    def sample(self, batch: DistillationBatch) -> DistillationBatch:
        """Return the batch unchanged: nothing is sampled."""
        return batch

    def encoder_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.student.backbone.encoder.parameters() if parameter.requires_grad]

    def forward(self, batch: DistillationBatch) -> LossOutput:
        """Return the losses, summed over the texts of the batch."""
        sums = {term: torch.zeros((), device=batch.size.device) for term in self.loss_weights}
        for side, texts, targets in batch.parts:
            vectors = self.student(texts, side)
            for view, scale in self._scales.items():
                distances = (getattr(vectors, view).float() - getattr(targets, view)).square().sum()
                sums[TERMS[view]] = sums[TERMS[view]] + distances / scale
        return LossOutput(sums)


class DistillationBatches:
    """Creates batches of documents and queries with the teacher's vectors.

    Args:
        student: Model whose tokenizer, prompts and maximum numbers of tokens are used.
        corpus: The documents; None if only queries are trained on.
        queries: The queries.
        targets: The teacher's vectors of documents and queries.
    """

    def __init__(
        self, student: BiEncoder, corpus: Corpus | None, queries: Sequence[str], targets: TeacherVectors
    ) -> None:
        config, tokenizer = student.config, student.tokenizer
        self._student, self._targets = student, targets
        self._terms = tuple(TERMS[view] for view in targets.scales)
        self._documents = (
            TokenizedTexts.of_documents(corpus, config.document_prompt, tokenizer)
            if corpus
            else TokenizedTexts(np.empty(0, np.int32), np.empty(0, np.bool_), np.zeros(1, np.int64))
        )
        self._queries = tokenizer.encode([config.query_prompt + query for query in queries])
        query_lengths = np.array([len(query.ids) for query in self._queries], np.int64)
        self.lengths = tokenizer.num_special_tokens + np.concatenate(
            [
                np.minimum(self._documents.lengths, config.max_document_tokens - tokenizer.num_special_tokens),
                np.minimum(query_lengths, config.max_query_tokens - tokenizer.num_special_tokens),
            ]
        )

    def __call__(self, indices: np.ndarray, epoch: int, device: torch.device) -> DistillationBatch:
        """Return the batch of texts with the given indices (int64): documents first, then queries."""
        count, parts = len(self._documents), []
        documents, queries = indices[indices < count], indices[indices >= count]
        if len(documents):
            encoded = [self._documents[int(index)] for index in documents]
            parts.append(self._part("document", encoded, documents, device))
        if len(queries):
            encoded = [self._queries[int(index) - count] for index in queries]
            parts.append(self._part("query", encoded, queries, device))
        return DistillationBatch(tuple(parts), torch.tensor(len(indices), device=device), self._terms)

    def _part(self, side: Side, encoded: list[Encoded], indices: np.ndarray, device: torch.device) -> TextPart:
        return TextPart(side, self._student.collate(encoded, side, device), self._targets(indices, device))


def _parts(teacher: Encoder, corpus: Corpus | None, queries: Sequence[str]) -> Iterator[Representation]:
    if corpus is not None:
        yield from encode_corpus(teacher, corpus)
    for start in range(0, len(queries), _QUERIES):
        yield teacher.represent_queries(queries[start : start + _QUERIES])
