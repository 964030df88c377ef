"""Batches for fine-tuning of bi-encoders: queries, their candidates, and the distinct candidate documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from encloze.data.corpus import Corpus
from encloze.data.records import TrainingExample
from encloze.models.bi_encoder import BiEncoder
from encloze.models.heads.base import TextBatch
from encloze.text.tokenizer import Encoded
from encloze.text.tokens import TokenizedTexts, split_by_length
from encloze.training.candidates import CandidateSampler, Relevance
from encloze.training.query_augmentation import QueryAugmentation

# Cost of a forward and backward pass in addition to that of its tokens, in tokens. On CPUs it was measured
# (benchmarks/batches.py); on GPUs it is an estimate: small passes do not use the whole GPU.
_PASS_COST = 64
_GPU_PASS_COST = 16384


class RetrievalBatch(NamedTuple):
    """Queries, their candidates, and the distinct documents among the candidates."""

    queries: TextBatch
    documents: tuple[TextBatch, ...]
    """The distinct documents in parts; documents of one part have similar lengths, so that there is little padding."""
    examples: Tensor
    """Index of the training example of each query (int64, one per query)."""
    candidates: Tensor
    """Text ids of candidates (see ``text_ids``), a relevant one first (int64, queries x candidates); -1 is padding."""
    teacher_scores: Tensor
    """Scores of the candidates by a teacher model (float32, queries x candidates); NaN if there is no score."""
    text_ids: Tensor
    """Text id of each row of ``documents`` (int64). Documents of the corpus with the same text share one text id."""


class RetrievalBatches:
    """Creates batches of queries and candidate documents from training examples.

    Args:
        encoder: Model whose tokenizer, prompts and maximum numbers of tokens are used.
        corpus: The documents.
        examples: Training examples, which refer to documents by their index in the corpus.
        negatives: Number of hard negatives per query.
        seed: Seed of the sampling of candidates.
        augmentation: Augmentation of the query texts; prompts are never augmented.

    Raises:
        DataError: All documents have the same text.
    """

    def __init__(
        self,
        encoder: BiEncoder,
        corpus: Corpus,
        examples: Sequence[TrainingExample],
        *,
        negatives: int,
        seed: int,
        augmentation: QueryAugmentation | None = None,
    ) -> None:
        self.encoder, self.sampler = encoder, CandidateSampler(corpus, examples, negatives, seed)
        self.augmentation = augmentation
        config, tokenizer = encoder.config, encoder.tokenizer
        self._num_special = tokenizer.num_special_tokens
        self.documents = TokenizedTexts.of_documents(corpus, config.document_prompt, tokenizer)
        self.queries = tokenizer.encode([config.query_prompt + example.query for example in examples])
        self.lengths = np.array([len(query.ids) for query in self.queries]) + np.minimum(
            self.documents.lengths[[example.positives[0] for example in examples]], config.max_document_tokens
        )

    @property
    def relevance(self) -> Relevance:
        """The relevant texts of each training example."""
        return self.sampler.relevance

    def __call__(self, examples: np.ndarray, epoch: int, device: torch.device) -> RetrievalBatch:
        """Return the batch of examples with the given indices (int64, ``(queries,)``)."""
        sampled = self.sampler(examples, epoch)
        queries = self.encoder.collate([self._query(int(index), epoch) for index in examples], "query", device)
        text_ids = np.unique(sampled.text_ids[sampled.text_ids >= 0])
        lengths = np.minimum(
            self.documents.lengths[text_ids] + self._num_special, self.encoder.config.max_document_tokens
        )
        parts = [
            text_ids[part] for part in split_by_length(lengths, _PASS_COST if device.type == "cpu" else _GPU_PASS_COST)
        ]
        documents = tuple(
            self.encoder.collate([self.documents[int(index)] for index in part], "document", device) for part in parts
        )
        text_ids = np.concatenate(parts)
        arrays = (examples.astype(np.int64), sampled.text_ids, sampled.teacher_scores, text_ids)
        tensors: list[Any] = [torch.from_numpy(array).to(device) for array in arrays]
        return RetrievalBatch(queries, documents, *tensors)

    def _query(self, index: int, epoch: int) -> Encoded:
        """Return the tokens of an example's query; if it is augmented in this epoch, those of the augmented query."""
        text = self.sampler.examples[index].query
        augmented = self.augmentation(text, index, epoch) if self.augmentation else text
        if augmented == text:
            return self.queries[index]
        return self.encoder.tokenizer.encode([self.encoder.config.query_prompt + augmented])[0]
