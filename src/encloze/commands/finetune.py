"""Fine-tune an encoder to retrieve: queries and their relevant documents close, the others apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from encloze import progress
from encloze.commands.base import Command, Trained
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.runs import read_run
from encloze.errors import RecipeError
from encloze.evaluation.perturbations.base import Perturbation
from encloze.losses.base import Loss, check_together
from encloze.losses.contrastive import Contrastive
from encloze.models.bi_encoder import BiEncoder
from encloze.models.checkpoint import Card
from encloze.models.heads.base import Head
from encloze.models.heads.dense import Dense
from encloze.models.origins.base import Origin
from encloze.storage.hashes import hash_of
from encloze.training.loop import Training, train
from encloze.training.outcome import begin, finish
from encloze.training.perturbing import Perturbing
from encloze.training.plan import BatchPlan
from encloze.training.retrieval import RetrievalBatches, RetrievalModule
from encloze.training.settling import check_prices, settle


@dataclass(frozen=True)
class Finetune(Command, name="finetune"):
    """Train a bi-encoder on judged queries, with the other documents of a batch and given ones as negatives."""

    dataset: Format
    """Documents, queries and judgments: a folder in BEIR's or MS MARCO's layout, or python_docs."""
    model: Origin
    """What to start from: a pre-trained folder, minilm, a hub's id."""
    output: Path
    """The model folder to write."""
    split: str = "train"
    """The part of the queries to learn from."""
    losses: tuple[Loss, ...] = field(default_factory=lambda: (Contrastive(),))
    """What to lower: one or more, each with its weight."""
    heads: tuple[Head, ...] = ()
    """Which views a text gets, dense, sparse or both; by default those of the checkpoint."""
    negatives: Path | None = None
    """A TREC run over the same queries: what it ranks and is not relevant serves as hard negatives."""
    negatives_per_query: int = 1
    """How many hard negatives a query takes in an epoch, where there are any."""
    negatives_depth: int = 200
    """How far down a ranking hard negatives are taken."""
    teacher: Path | None = None
    """A TREC run with a teacher's scores of relevant documents and of negatives, for losses that learn from it."""
    perturbations: tuple[Perturbation, ...] = ()
    """How queries go wrong while they are learnt (typos, dropped, case ...), so that the model bears it; one of these
    befalls each query that something befalls."""
    perturbed_share: float = 0.5
    """The share of the queries that is perturbed in an epoch, where there are perturbations; other ones each time."""
    query_prompt: str | None = None
    """Put before every query; by default the checkpoint's."""
    document_prompt: str | None = None
    """Put before every document; by default the checkpoint's."""
    max_query_tokens: int | None = None
    """Queries are cut to so many tokens; by default the checkpoint's limit."""
    max_document_tokens: int | None = None
    """Documents are cut to so many tokens; by default the checkpoint's limit."""
    batch_size: int = 32
    """Queries of one step, over all processes and parts: each is compared with the documents of all of them."""
    training: Training = field(default_factory=lambda: Training(learning_rate=2e-5))
    """How the weights are moved."""
    gradient_checkpointing: bool = False
    """Whether activations are worked out twice to save memory; the result is the same."""
    seed: int = 0
    """Where all randomness comes from."""
    resume: bool = False
    """Whether to go on with an unfinished run of the same settings."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be 2 or more, not {self.batch_size}: a batch's documents are negatives")
        has_negatives = self.negatives is not None and self.negatives_per_query > 0
        check_together(self.losses, has_teacher=self.teacher is not None, has_negatives=has_negatives)
        if self.heads:
            Card(self.heads)  # which refuses views that there cannot be together
            self._check_losses(self.heads, {head.view: getattr(head, "width", None) for head in self.heads})
        for name in ("max_query_tokens", "max_document_tokens"):
            limit = getattr(self, name)
            if limit is not None and limit < 3:
                raise ValueError(f"{name} must be 3 or more (two tokens are special), not {limit}")
        if self.negatives_per_query < 0 or self.negatives_depth < 1:
            raise ValueError("negatives_per_query must be 0 or more and negatives_depth 1 or more")
        if not 0 < self.perturbed_share <= 1:
            raise ValueError(f"perturbed_share must be above 0 and at most 1, not {self.perturbed_share}")
        if self.training.frozen_steps:
            raise ValueError(
                "training.frozen_steps must be 0: fine-tuning moves all weights from its first step on. Where a part "
                "is new (the projection of dense), training.encoder_learning_rate keeps the encoder slower than it"
            )

    def run(self) -> Trained:
        state = begin(self)
        dataset = DatasetSplit(self.dataset, self.split)
        negatives, teacher = (read_run(file) if file else None for file in (self.negatives, self.teacher))
        examples = [example for _, example in dataset.examples(negatives, self.negatives_depth, teacher)]
        needs_vocabulary = any(head.needs_vocabulary for head in self.heads)
        start = self.model.start(dataset.corpus.texts, need_head=needs_vocabulary, seed=self.seed)
        encoder = BiEncoder(start.backbone, start.tokenizer, self._card(start.card), start.heads)
        try:
            self._check_losses(encoder.card.heads, encoder.views)
        except ValueError as error:
            raise RecipeError("the recipe", [("losses", str(error))]) from error
        self._tell_doubts(encoder.card.heads)
        if encoder.card.needs_vocabulary and start.backbone.head_is_new:
            progress.warn(
                f"the sparse view is made by the head for masked language modelling, and that of {self.model.label()} "
                "was never trained: it will find little. Pre-train the model first, as in encloze pretrain "
                "--objective mlm"
            )
        if self.gradient_checkpointing:
            start.backbone.checkpoint_gradients()
        perturbing = Perturbing(self.perturbations, self.perturbed_share, self.seed) if self.perturbations else None
        batches = RetrievalBatches(
            encoder,
            dataset.corpus,
            examples,
            negatives=self.negatives_per_query,
            seed=self.seed,
            perturbing=perturbing,
        )
        plan = BatchPlan(np.asarray(batches.lengths), self.seed, batch_size=self.batch_size)
        identity = {
            "corpus": dataset.corpus.fingerprint,
            "tokenizer": start.tokenizer.fingerprint,
            "examples": hash_of(examples),
        }
        module = RetrievalModule(encoder, self.losses, batches.relevance)
        train(module, plan, batches, self.training, state, self.seed, identity)
        settle(module, batches)
        names = " + ".join(loss.term for loss in self.losses)
        how = f"fine-tuned with {names} on {self.dataset.place()} ({self.split})"
        inputs = {
            **self.dataset.inputs("dataset"),
            "model": self.model.label(),
            "negatives": self.negatives,
            "teacher": self.teacher,
        }
        finish(self, state, encoder.save, how, inputs)
        return Trained(self.output, "index")

    def _check_losses(self, heads: tuple[Head, ...], widths: Mapping[str, int | None]) -> None:
        """Raise ValueError where losses do not fit what heads make; ``widths`` by view, None where it is not known."""
        for loss in self.losses:
            loss.check(widths)
        check_prices(self.losses, heads)

    def _tell_doubts(self, heads: tuple[Head, ...]) -> None:
        alone = heads[0] if len(heads) == 1 else None
        cosines = alone.weight if isinstance(alone, Dense) and alone.normalise else 0.0
        for doubt in filter(None, (loss.doubts(cosines) for loss in self.losses)):
            progress.warn(doubt)

    def _card(self, card: Card) -> Card:
        """The checkpoint's card with what the settings change."""
        names = ("query_prompt", "document_prompt", "max_query_tokens", "max_document_tokens")
        changes: dict[str, Any] = {name: getattr(self, name) for name in names}
        return replace(
            card,
            heads=tuple(head.like(card.dense) for head in self.heads) or card.heads,
            **{name: value for name, value in changes.items() if value is not None},
        )
