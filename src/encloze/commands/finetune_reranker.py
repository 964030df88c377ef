"""Fine-tune an encoder to re-rank: it reads a query and a document together and scores them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from encloze.commands.base import Command, Trained
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.runs import read_run
from encloze.errors import RecipeError
from encloze.losses.base import CandidateLoss, Loss, check_together
from encloze.losses.listwise import Listwise
from encloze.models.cross_encoder import CrossEncoder
from encloze.storage.hashes import hash_of
from encloze.training.loop import Training, train
from encloze.training.outcome import begin, finish
from encloze.training.plan import BatchPlan
from encloze.training.reranking import RerankingBatches, RerankingModule


@dataclass(frozen=True)
class FinetuneReranker(Command, name="finetune_reranker"):
    """Train a cross-encoder on judged queries and negatives: slow, and right more often than a bi-encoder."""

    dataset: Format
    """Documents, queries and judgments: a folder in BEIR's or MS MARCO's layout, or python_docs."""
    model: str
    """What to start from: an encoder (pre-trained or not) or a re-ranker; a folder, a hub's id, or minilm."""
    output: Path
    """The model folder to write."""
    negatives: Path
    """A TREC run over the same queries: what it ranks and is not relevant serves as negatives."""
    split: str = "train"
    """The part of the queries to learn from."""
    losses: tuple[Loss, ...] = field(default_factory=lambda: (Listwise(),))
    """What to lower: listwise, pairwise, pointwise, or with a teacher margin_mse and kl_divergence."""
    negatives_per_query: int = 7
    """How many negatives a query takes in an epoch."""
    negatives_depth: int = 100
    """How far down a ranking negatives are taken."""
    teacher: Path | None = None
    """A TREC run with a teacher's scores of relevant documents and of negatives, for losses that learn from it."""
    max_tokens: int | None = None
    """A query and its document together are cut to so many tokens; by default what the model takes, 512 at most."""
    batch_size: int = 8
    """Queries of one step, over all processes; each comes with its candidates."""
    training: Training = field(default_factory=lambda: Training(learning_rate=2e-5))
    """How the weights are moved."""
    seed: int = 0
    """Where all randomness comes from."""
    resume: bool = False
    """Whether to go on with an unfinished run of the same settings."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "negatives_per_query", "negatives_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.max_tokens is not None and self.max_tokens < 8:
            raise ValueError(f"max_tokens must be 8 or more, not {self.max_tokens}")
        check_together(self.losses, has_teacher=self.teacher is not None, has_negatives=True)
        if strange := [loss.name for loss in self.losses if not isinstance(loss, CandidateLoss)]:
            raise ValueError(
                f"the loss {strange[0]} compares queries with each other's documents, which a re-ranker never reads: "
                "take listwise, pairwise, pointwise, margin_mse or kl_divergence"
            )

    def run(self) -> Trained:
        state = begin(self)
        dataset = DatasetSplit(self.dataset, self.split)
        negatives, teacher = (read_run(file) if file else None for file in (self.negatives, self.teacher))
        found = [example for _, example in dataset.examples(negatives, self.negatives_depth, teacher)]
        examples = [example for example in found if example.negatives]
        torch.manual_seed(self.seed)  # a new head is drawn from it
        try:
            encoder = CrossEncoder.load(self.model, max_tokens=self.max_tokens)
        except ValueError as error:
            raise RecipeError("the recipe", [("max_tokens", str(error))]) from error
        batches = RerankingBatches(
            encoder, dataset.corpus, examples, negatives=self.negatives_per_query, seed=self.seed
        )
        plan = BatchPlan(np.asarray(batches.lengths), self.seed, batch_size=self.batch_size)
        identity = {
            "corpus": dataset.corpus.fingerprint,
            "tokenizer": encoder.tokenizer.fingerprint,
            "examples": hash_of(examples),
        }
        losses = [loss for loss in self.losses if isinstance(loss, CandidateLoss)]  # all of them: checked above
        train(RerankingModule(encoder, losses), plan, batches, self.training, state, self.seed, identity)
        names = " + ".join(loss.term for loss in self.losses)
        how = f"fine-tuned to re-rank with {names} on {self.dataset.place()} ({self.split})"
        inputs = {
            **self.dataset.inputs("dataset"),
            "model": self.model,
            "negatives": self.negatives,
            "teacher": self.teacher,
        }
        finish(self, state, encoder.save, how, inputs, "text-ranking")
        return Trained(self.output, "score")
