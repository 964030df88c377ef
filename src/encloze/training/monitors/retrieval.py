"""Monitor of retrieval quality: nDCG@10 of the encoder, zero-shot and after a short contrastive fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Judgments, Run
from encloze.data.training_examples import training_examples
from encloze.errors import DataError
from encloze.evaluation.measures import compute_measures
from encloze.models.layers.contrastive_loss import in_batch_contrastive_loss
from encloze.models.layers.pooling import Pooling
from encloze.models.precision import autocast
from encloze.models.pretraining_module import PretrainingModule
from encloze.text.tokenizer import Encoded
from encloze.training.monitors.base import Direction, Metrics, Monitor, PretrainingData, embed, eval_mode

_TEMPERATURE, _CUTOFF = 0.05, 10


@dataclass(frozen=True)
class Retrieval(Monitor, name="retrieval"):
    """nDCG@10 on a small retrieval task, with cosine similarity. The metrics are ``zero_shot`` and ``finetuned``.

    ``zero_shot`` is computed with the encoder itself, and ``finetuned`` with a copy of the encoder after a short
    contrastive fine-tuning. Every evaluation fine-tunes on the same pairs.
    """

    task: Literal["neighbors", "titles", "queries"] | None = None
    """Retrieval task. neighbors: a span is the query, and the next or previous span of its document is relevant;
    titles: a title is the query, and the text with this title is relevant; queries: the queries and judgments of the
    split dev of dataset are used. By default queries if dataset is set, otherwise neighbors if documents have several
    spans, otherwise titles."""
    dataset: Path | None = None
    """Data set with the splits train (for the fine-tuning) and dev, for the task queries."""
    queries: int = 300
    """Maximum number of queries to evaluate."""
    documents: int = 1000
    """Number of documents to search in. All relevant documents are included, even if there are more than this
    number."""
    max_tokens: int = 64
    """Maximum number of tokens of a text; longer texts are truncated."""
    pooling: Pooling | None = None
    """Pooling of the embeddings: cls, mean or max; by default that of the objective."""
    finetuning_steps: int = 30
    """Number of steps for which a copy of the model is fine-tuned before each evaluation. 0 computes only the metric
    zero_shot, without fine-tuning."""
    finetuning_batch_size: int = 32
    """Number of pairs in a batch of the fine-tuning."""
    finetuning_learning_rate: float = 1e-4
    """Learning rate of the fine-tuning."""

    def __post_init__(self) -> None:
        for name in ("queries", "documents", "max_tokens", "finetuning_batch_size", "finetuning_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.finetuning_steps < 0:
            raise ValueError(f"finetuning_steps must be 0 or more, not {self.finetuning_steps}")
        if self.task == "queries" and self.dataset is None:
            raise ValueError("the task queries needs dataset: set dataset to a data set with the splits train and dev")

    def directions(self, module: PretrainingModule) -> dict[str, Direction]:
        return dict.fromkeys(["zero_shot", "finetuned"] if self.finetuning_steps else ["zero_shot"], "higher")

    def build(self, data: PretrainingData) -> Metrics:
        task = self.build_task(data)

        def compute(module: PretrainingModule) -> dict[str, float]:
            return {name: float(values.mean()) for name, values in self.evaluate(module, task, data).items()}

        return compute

    def build_task(self, data: PretrainingData) -> RetrievalTask:
        """Return the retrieval task, which depends only on the texts and the seed.

        Raises:
            DataError: There are no queries, no relevant documents or no training pairs for the task.
        """
        name = self.task
        if name is None:
            has_neighbors = (data.spans.next_span >= 0).any()
            name = "queries" if self.dataset else "neighbors" if has_neighbors else "titles"
        build = {"neighbors": self._neighbors, "titles": self._titles, "queries": self._queries}[name]
        task = build(data, np.random.default_rng(data.seed))
        if not task.relevant or len(task.pairs) < 2:
            raise DataError(
                f"{data.format.location()} has no {name} to evaluate retrieval with. Set the task of the monitor "
                "retrieval to another one (neighbors, titles, or queries with a dataset), or remove the monitor"
            )
        return task

    def evaluate(self, module: PretrainingModule, task: RetrievalTask, data: PretrainingData) -> dict[str, np.ndarray]:
        """Return nDCG@10 of each query (float64, one per query) for each metric: ``zero_shot`` and ``finetuned``.

        ``module`` is unchanged.
        """
        values = {"zero_shot": self._ndcg(module, task, data)}
        if self.finetuning_steps:
            values["finetuned"] = self._ndcg(self._finetuned(module, task, data), task, data)
        return values

    def _neighbors(self, data: PretrainingData, generator: np.random.Generator) -> RetrievalTask:
        spans = data.spans
        neighbor = np.where(spans.next_span >= 0, spans.next_span, spans.previous_span)
        queries = [int(span) for span in data.held_out if neighbor[span] >= 0][: self.queries]
        documents = self._sample_documents({int(neighbor[span]) for span in queries}, len(spans), generator)
        column = {span: index for index, span in enumerate(documents)}
        training = generator.permutation([int(span) for span in data.training if spans.next_span[span] >= 0])
        return RetrievalTask(
            [spans[span] for span in queries],
            [spans[span] for span in documents],
            [({column[int(neighbor[span])]}, column.get(span)) for span in queries],
            [(spans[int(span)], spans[int(spans.next_span[span])]) for span in training[: self._num_pairs()]],
        )

    def _titles(self, data: PretrainingData, generator: np.random.Generator) -> RetrievalTask:
        corpus, spans, encode = data.corpus, data.spans, data.tokenizer.encode
        held_out = [n for n in dict.fromkeys(int(spans.text_numbers[n]) for n in data.held_out) if corpus[n].title]
        titles = list(dict.fromkeys(corpus[n].title for n in held_out if corpus[n].text))[: self.queries]
        relevant = {n for n in held_out if corpus[n].title in set(titles)}
        documents = self._sample_documents(relevant, len(corpus), generator)
        document_titles = [corpus[n].title for n in documents]
        training = generator.permutation(np.unique(spans.text_numbers[data.training]))
        candidates = [corpus[int(n)] for n in training[: 4 * self._num_pairs()]]
        pairs = [(document.title, document.text) for document in candidates if document.title and document.text]
        pairs = pairs[: self._num_pairs()]
        return RetrievalTask(
            encode(titles),
            encode([corpus[n].text for n in documents]),
            [({column for column, other in enumerate(document_titles) if other == title}, None) for title in titles],
            list(zip(encode([title for title, _ in pairs]), encode([text for _, text in pairs]), strict=True)),
        )

    def _queries(self, data: PretrainingData, generator: np.random.Generator) -> RetrievalTask:
        assert self.dataset is not None  # checked in __post_init__
        encode, format_ = data.tokenizer.encode, Format.from_name(str(self.dataset))
        dev, train = DatasetSplit(format_, "dev"), DatasetSplit(format_, "train")
        queries = [example for _, example in training_examples(dev)][: self.queries]
        relevant = {document for example in queries for document in example.positives}
        documents = self._sample_documents(relevant, len(dev.corpus), generator)
        column = {document: index for index, document in enumerate(documents)}
        training = [example for _, example in training_examples(train)]
        pairs = [training[int(n)] for n in generator.permutation(len(training))[: self._num_pairs()]]
        positives = list(dev.corpus.texts([example.positives[0] for example in pairs]))
        return RetrievalTask(
            encode([example.query for example in queries]),
            encode(list(dev.corpus.texts(documents))),
            [({column[document] for document in example.positives}, None) for example in queries],
            list(zip(encode([example.query for example in pairs]), encode(positives), strict=True)),
        )

    def _sample_documents(self, relevant: set[int], count: int, generator: np.random.Generator) -> list[int]:
        """Return sorted indices: all relevant documents, and random others up to ``self.documents`` in total."""
        others = (int(n) for n in generator.permutation(count) if int(n) not in relevant)
        missing = max(0, self.documents - len(relevant))
        return sorted([*relevant, *(n for n, _ in zip(others, range(missing), strict=False))])

    def _num_pairs(self) -> int:
        return max(2, self.finetuning_steps * self.finetuning_batch_size)

    def _ndcg(self, module: PretrainingModule, task: RetrievalTask, data: PretrainingData) -> np.ndarray:
        with eval_mode(module, data.precision):
            queries, documents = (
                F.normalize(embed(module, texts, data, self.max_tokens, self.pooling), dim=1)
                for texts in (task.queries, task.documents)
            )
        scores = (queries @ documents.T).cpu()  # in float32: cosines near 1 are equal in bfloat16
        run, judgments = Run(), Judgments()
        for row, (relevant, excluded) in enumerate(task.relevant):
            if excluded is not None:
                scores[row, excluded] = float("-inf")
            best = scores[row].topk(min(_CUTOFF, scores.shape[1]))
            run[str(row)] = {str(int(column)): float(score) for score, column in zip(*best, strict=True)}
            judgments[str(row)] = {str(column): 1 for column in relevant}
        return compute_measures(run, judgments, ["nDCG@10"])["nDCG@10"]

    def _finetuned(self, module: PretrainingModule, task: RetrievalTask, data: PretrainingData) -> PretrainingModule:
        """Return a copy of ``module`` after contrastive fine-tuning without dropout; the result is deterministic."""
        copied = copy.deepcopy(module).eval()
        parameters = copied.encoder_parameters()
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(parameters, self.finetuning_learning_rate)
        device = next(copied.parameters()).device
        for pairs in _cycle_batches(task.pairs, self.finetuning_batch_size, self.finetuning_steps):
            with torch.enable_grad(), autocast(data.precision, device):
                sides = [
                    embed(copied, [pair[side] for pair in pairs], data, self.max_tokens, self.pooling)
                    for side in (0, 1)
                ]
            sources = torch.arange(len(pairs), device=device)
            loss, _ = in_batch_contrastive_loss(torch.stack(sides, dim=1), sources, _TEMPERATURE, normalize=True)
            (loss / (2 * len(pairs))).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        return copied


class RetrievalTask(NamedTuple):
    """Queries, documents, relevance judgments, and training pairs for the fine-tuning."""

    queries: list[Encoded]
    documents: list[Encoded]
    relevant: list[tuple[set[int], int | None]]
    """For each query: the indices of its relevant documents, and the index of the document that is the query itself
    (None if the query is not a document). That document is left out of the ranking."""
    pairs: list[tuple[Encoded, Encoded]]
    """Pairs of a query and a relevant document, for the fine-tuning."""


def _cycle_batches(
    pairs: list[tuple[Encoded, Encoded]], size: int, steps: int
) -> Iterator[list[tuple[Encoded, Encoded]]]:
    for step in range(steps):
        yield [pairs[(step * size + offset) % len(pairs)] for offset in range(min(size, len(pairs)))]
