"""How well the encoder finds, as it is and after a short contrastive head start: the answer to "is it trained?"."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.records import Judgments, Run
from encloze.errors import DataError
from encloze.evaluation.measures import measure
from encloze.models.layers.contrast import contrast
from encloze.models.layers.pooling import Pooling
from encloze.models.precision import autocast
from encloze.objectives.base import PretrainingModule
from encloze.text.tokenizer import Encoded
from encloze.training.monitors.base import Material, Monitor, Probe, at_rest, embeddings

_TEMPERATURE, _DEPTH = 0.05, 10


@dataclass(frozen=True)
class Retrieval(Monitor, name="retrieval"):
    """nDCG@10 on a small held-out retrieval task, by cosine: ``raw``, and after a fixed contrastive ``head_start``."""

    better: ClassVar[dict[str, Literal["higher", "lower"]]] = {"*": "higher"}

    task: Literal["neighbours", "titles", "queries"] | None = None
    """What is sought: a span's neighbour, a title's text, or what the dev queries are judged by; by default queries
    where a data set is given, neighbours where the texts have some, and else titles."""
    dataset: Path | None = None
    """A data set with train and dev queries, for the task queries."""
    queries: int = 300
    """So many queries at most."""
    documents: int = 1000
    """So many texts to find among, at most; the sought ones always."""
    max_tokens: int = 64
    """Texts are cut to so many tokens."""
    pooling: Pooling | None = None
    """How embeddings are pooled, cls, mean or max; by default as the objective does."""
    head_start_steps: int = 30
    """Steps of the head start, on a copy; 0 leaves it out."""
    head_start_pairs: int = 32
    """Pairs in each of its batches."""
    head_start_learning_rate: float = 1e-4
    """Its learning rate."""

    def __post_init__(self) -> None:
        for name in ("queries", "documents", "max_tokens", "head_start_pairs", "head_start_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.head_start_steps < 0:
            raise ValueError(f"head_start_steps must be 0 or more, not {self.head_start_steps}")
        if self.task == "queries" and self.dataset is None:
            raise ValueError("the task queries needs a dataset")

    def probe(self, material: Material) -> Probe:
        made = self.search(material)

        def look(module: PretrainingModule) -> dict[str, float]:
            return {name: float(values.mean()) for name, values in self.by_query(module, made, material).items()}

        return look

    def search(self, material: Material) -> Search:
        """The retrieval task, always the same for the same texts; DataError where they have none to offer."""
        made = self._chosen(material)
        if not made.sought or len(made.pairs) < 2:
            raise DataError(
                f"{material.format.place()} has no {made.name} to try retrieval with. Choose another --monitors "
                "retrieval task (neighbours, titles, queries with a dataset), or leave the monitor out"
            )

        return made

    def by_query(self, module: PretrainingModule, made: Search, material: Material) -> dict[str, np.ndarray]:
        """nDCG@10 of each query, raw and after the head start (a copy has that)."""
        found = {"raw": self._ndcg(module, made, material)}
        if self.head_start_steps:
            found["head_start"] = self._ndcg(self._started(module, made, material), made, material)
        return found

    def _chosen(self, material: Material) -> Search:
        spans = material.spans
        task = self.task or ("queries" if self.dataset else "neighbours" if (spans.after >= 0).any() else "titles")
        if task == "queries":
            return self._queries(material)
        return self._neighbours(material) if task == "neighbours" else self._titles(material)

    def _neighbours(self, material: Material) -> Search:
        spans, draw = material.spans, np.random.default_rng(material.seed)
        other = np.where(spans.after >= 0, spans.after, spans.before)
        asking = [int(n) for n in material.held_out if other[n] >= 0][: self.queries]
        sought = {number: {int(other[number])} for number in asking}
        found = self._pool({document for some in sought.values() for document in some}, len(spans), draw)
        learnt = draw.permutation([int(n) for n in material.learnt if spans.after[n] >= 0])
        return Search(
            "neighbours",
            [spans[number] for number in asking],
            [spans[number] for number in found],
            [({found.index(d) for d in sought[n]}, found.index(n) if n in found else None) for n in asking],
            [(spans[int(n)], spans[int(spans.after[n])]) for n in learnt[: self._enough()]],
        )

    def _titles(self, material: Material) -> Search:
        corpus, spans, draw = material.corpus, material.spans, np.random.default_rng(material.seed)
        held = [n for n in dict.fromkeys(int(spans.texts[n]) for n in material.held_out) if corpus[n].title]
        titles = list(dict.fromkeys(corpus[n].title for n in held if corpus[n].text))[: self.queries]
        found = self._pool({n for n in held if corpus[n].title in set(titles)}, len(corpus), draw)
        named = [corpus[n].title for n in found]
        learnt = draw.permutation(np.unique(spans.texts[material.learnt]))
        some = [corpus[int(n)] for n in learnt[: 4 * self._enough()]]
        pairs = [(document.title, document.text) for document in some if document.title and document.text]
        pairs = pairs[: self._enough()]
        encode = material.tokenizer.encode
        return Search(
            "titles",
            encode(titles),
            encode([corpus[n].text for n in found]),
            [({place for place, name in enumerate(named) if name == title}, None) for title in titles],
            list(zip(encode([title for title, _ in pairs]), encode([text for _, text in pairs]), strict=True)),
        )

    def _queries(self, material: Material) -> Search:
        assert self.dataset is not None
        known, draw = Format.named(str(self.dataset)), np.random.default_rng(material.seed)
        dev, train = DatasetSplit(known, "dev"), DatasetSplit(known, "train")
        asking = dev.examples()[: self.queries]
        found = self._pool({d for _, example in asking for d in example.positives}, len(dev.corpus), draw)
        place = {document: number for number, document in enumerate(found)}
        learnt = [example for _, example in train.examples()]
        some = [learnt[int(n)] for n in draw.permutation(len(learnt))[: self._enough()]]
        encode = material.tokenizer.encode
        positives = list(dev.corpus.texts([example.positives[0] for example in some]))
        return Search(
            "queries",
            encode([example.query for _, example in asking]),
            encode(list(dev.corpus.texts(found))),
            [({place[d] for d in example.positives}, None) for _, example in asking],
            list(zip(encode([example.query for example in some]), encode(positives), strict=True)),
        )

    def _pool(self, sought: set[int], there: int, draw: np.random.Generator) -> list[int]:
        """What is searched: all that is sought, and others up to the number wanted."""
        others = (int(n) for n in draw.permutation(there) if int(n) not in sought)
        more = max(0, self.documents - len(sought))
        return sorted([*sought, *(n for n, _ in zip(others, range(more), strict=False))])

    def _enough(self) -> int:
        return max(2, self.head_start_steps * self.head_start_pairs)

    def _ndcg(self, module: PretrainingModule, made: Search, material: Material) -> np.ndarray:
        with at_rest(module, material.precision):
            queries, documents = (
                F.normalize(self._embeddings(module, texts, material), dim=1)
                for texts in (made.queries, made.documents)
            )
        scores = (queries @ documents.T).cpu()  # not in bfloat16, whose cosines near 1 are all the same
        run, judged = Run(), Judgments()
        for row, (wanted, itself) in enumerate(made.sought):
            if itself is not None:
                scores[row, itself] = float("-inf")
            best = scores[row].topk(min(_DEPTH, scores.shape[1]))
            run[str(row)] = {str(int(at)): float(score) for score, at in zip(*best, strict=True)}
            judged[str(row)] = {str(at): 1 for at in wanted}
        return measure(run, judged, ["nDCG@10"])["nDCG@10"]

    def _embeddings(self, module: PretrainingModule, texts: list[Encoded], material: Material) -> Tensor:
        return embeddings(module, texts, material, self.max_tokens, self.pooling)

    def _started(self, module: PretrainingModule, made: Search, material: Material) -> PretrainingModule:
        """A copy after a few contrastive steps, always the same ones."""
        started = copy.deepcopy(module).eval()  # without dropout: nothing is drawn
        parameters = started.encoder_parameters()
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(parameters, self.head_start_learning_rate)
        place = next(started.parameters()).device
        for pairs in _cycled(made.pairs, self.head_start_pairs, self.head_start_steps):
            with torch.enable_grad(), autocast(material.precision, place):
                sides = [self._embeddings(started, [pair[side] for pair in pairs], material) for side in (0, 1)]
            apart = torch.arange(len(pairs), device=place)
            loss, _ = contrast(torch.stack(sides, dim=1), apart, _TEMPERATURE, normalise=True)
            (loss / (2 * len(pairs))).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        return started


class Search(NamedTuple):
    """A retrieval task: for each query the documents that should be found, and one that does not count (itself)."""

    name: str
    queries: list[Encoded]
    documents: list[Encoded]
    sought: list[tuple[set[int], int | None]]
    pairs: list[tuple[Encoded, Encoded]]


def _cycled(pairs: list[tuple[Encoded, Encoded]], size: int, steps: int) -> Iterator[list[tuple[Encoded, Encoded]]]:
    for step in range(steps):
        yield [pairs[(step * size + at) % len(pairs)] for at in range(min(size, len(pairs)))]
