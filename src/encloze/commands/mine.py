"""Mine hard negatives: what systems rank high for a query and is not relevant to it, as far as can be told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from encloze import progress, recipe
from encloze.commands._ranked import in_order, rank_into
from encloze.commands.base import Command, Mined
from encloze.data.dataset import DatasetSplit
from encloze.data.duplicates import Shingled
from encloze.data.formats.base import Format
from encloze.data.records import Query, Run
from encloze.data.runs import RUN, append_run, best
from encloze.data.words import normalized
from encloze.encoders.base import Scorer, load_scorer
from encloze.errors import DataError
from encloze.storage.atomic import atomic_folder
from encloze.storage.disk import explain_write_errors
from encloze.storage.hashes import hash_of
from encloze.storage.json_files import write_json
from encloze.storage.provenance import describe_input, write_provenance
from encloze.systems.base import System, inputs_of
from encloze.systems.bm25 import Bm25
from encloze.training.outcome import begin
from encloze.training.state import Unfinished

_QUERIES = 16  # filtered at a time: what a kill may cost
RELEVANT, NEAR, ABOVE = "relevant", "nearly a relevant one", "scored too near"


@dataclass(frozen=True)
class Mine(Command, name="mine"):
    """Write, for each query, documents that look relevant and are not, as a run.trec in a folder."""

    dataset: Format
    """Documents, queries and judgments."""
    output: Path
    """The folder to write; finetune takes it as negatives."""
    sources: tuple[System, ...] = field(default_factory=lambda: (Bm25(),))
    """What ranks candidates: bm25, models, indexes, run files; several take turns."""
    split: str = "train"
    """The part of the queries to mine for."""
    skip: int = 0
    """So many of the first ranks are left out, where unjudged documents are often relevant."""
    depth: int = 200
    """How far down each ranking candidates are taken."""
    keep: int = 50
    """So many negatives are kept for a query, the highest ranked."""
    similarity: float | None = 0.8
    """Candidates whose words (four in a row) are those of a relevant document to this Jaccard similarity are left out;
    null lets all but the relevant ones pass."""
    guide: str | None = None
    """A model, bi-encoder or re-ranker, that scores candidates beside the relevant documents, for the margins."""
    margin: float | None = None
    """Candidates must score so much below the lowest relevant document."""
    relative_margin: float | None = None
    """Candidates must score below this share of the lowest relevant document's score (NV-Retriever: 0.95)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the guide's products."""
    resume: bool = False
    """Whether to go on with an unfinished run of the same settings."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources is empty: name at least one, as in --sources bm25")
        if self.skip < 0 or self.depth <= self.skip or self.keep < 1:
            raise ValueError("skip must be 0 or more, depth above skip, and keep 1 or more")
        if self.similarity is not None and not 0 < self.similarity <= 1:
            raise ValueError(f"similarity must be above 0 and at most 1, not {self.similarity}")
        if self.guide is None and (self.margin is not None or self.relative_margin is not None):
            raise ValueError("margins need a guide, which scores candidates and relevant documents")
        if self.guide is not None and self.margin is None and self.relative_margin is None:
            raise ValueError("a guide needs a margin or a relative_margin")
        if self.relative_margin is not None and not self.relative_margin > 0:
            raise ValueError(f"relative_margin must be above 0, not {self.relative_margin}")

    def run(self) -> Mined:
        dataset = DatasetSplit(self.dataset, self.split)
        for source in self.sources:
            source.check()
            source.check_for(dataset)
        state = begin(self)
        dataset.check_documents()
        relevant = self._relevant(dataset)
        guide = load_scorer(self.guide, self.precision) if self.guide else None
        words = {query.id: query.text for query in dataset.queries}
        made_from = {
            name: describe_input(place) for name, place in self._inputs().items() if not name.startswith("dataset")
        }
        asked = {"queries": hash_of(words), "relevant": hash_of(relevant)}
        state.open({"corpus": dataset.corpus.fingerprint, **asked, **made_from})
        queries = [query for query in dataset.queries if query.id in relevant]
        ranked = self._ranked(dataset, queries, state)
        file = state.folder / "queries.jsonl"
        done = _whole(file)
        rankings = [islice(in_order(each, queries), done, None) for each in ranked]
        rules = _Rules(self, dataset, relevant, guide)
        with (
            explain_write_errors(file),
            file.open("a", encoding="utf-8") as stream,
            progress.task("Mining for", len(queries), "queries", done=done) as bar,
        ):
            for start in range(done, len(queries), _QUERIES):
                part = queries[start : start + _QUERIES]
                of_part: list[Run] = [dict(zip((query.id for query in part), each, strict=False)) for each in rankings]
                for found in rules.negatives(part, of_part):
                    stream.write(json.dumps(found) + "\n")
                stream.flush()
                bar.advance(len(part))
        return self._finish(state, file)

    def _relevant(self, dataset: DatasetSplit) -> dict[str, list[str]]:
        """The relevant documents of each query that has some; what answers a question does so wherever it is asked."""
        by_words: dict[str, dict[str, None]] = {}
        for query in dataset.queries:
            known = by_words.setdefault(normalized(query.text), {})
            known.update(dict.fromkeys(d for d, grade in dataset.judgments[query.id].items() if grade > 0))
        found = {
            query.id: [d for d in by_words[normalized(query.text)] if d in dataset.corpus.number_of]
            for query in dataset.queries
        }
        if none := sum(not documents for documents in found.values()):
            progress.warn(f"{none} queries of the split {self.split!r} have no relevant document and are left out")
        return {query: documents for query, documents in found.items() if documents}

    def _ranked(self, dataset: DatasetSplit, queries: list[Query], state: Unfinished) -> list[Path]:
        """What each source ranks, in files that are kept while the work goes on."""
        files, has_some = [state.folder / f"source-{number}.trec" for number in range(len(self.sources))], False
        for file, source in zip(files, self.sources, strict=True):
            name = source.title or source.label()
            if not file.exists():
                progress.note(f"Ranking with {name}")
                rank_into(file, source, dataset, queries, self.depth)
            ranked = (document for ranking in in_order(file, queries) for document in ranking)
            has_some |= dataset.check_candidates(ranked, name)
        if not has_some:
            raise DataError(f"the sources rank nothing for the queries of the split {self.split!r}")
        return files

    def _inputs(self) -> dict[str, Path | str]:
        inputs = self.dataset.inputs("dataset") | inputs_of(self.sources, "sources")
        return inputs | ({"guide": self.guide} if self.guide else {})

    def _finish(self, state: Unfinished, file: Path) -> Mined:
        dropped, kept, empty, queries = Counter[str](), 0, 0, 0
        with atomic_folder(self.output, overwrite=self.overwrite) as folder:
            with file.open(encoding="utf-8") as lines, (folder / RUN).open("w", encoding="utf-8") as stream:
                for found in map(json.loads, lines):
                    ranking = {document: 1 / place for place, document in enumerate(found["negatives"], 1)}
                    append_run(stream, {found["query"]: ranking})
                    dropped.update(found["dropped"])
                    kept, empty, queries = kept + len(ranking), empty + (not ranking), queries + 1
            mined = Mined(self.output, queries, kept, dict(dropped), empty)
            write_json(folder / "mined.json", {**asdict(mined), "folder": self.output.name})
            write_provenance(folder, recipe.dump(replace(self, resume=False), {"verb": self.name}), self._inputs())
        state.discard()
        if empty:
            progress.warn(f"{empty} of {queries} queries have no negative left: a greater depth or margin may help")
        return mined


class _Rules(NamedTuple):
    """What decides whether a candidate may serve as a negative."""

    settings: Mine
    dataset: DatasetSplit
    relevant: dict[str, list[str]]
    guide: Scorer | None

    def negatives(self, queries: list[Query], rankings: list[Run]) -> Iterator[dict[str, Any]]:
        """For each query the documents that are kept, and how many were dropped why."""
        listed = [self._candidates(query, rankings) for query in queries]
        scores = self._scores(queries, listed)
        for query, candidates, of_query in zip(queries, listed, scores, strict=True):
            dropped, kept = Counter[str](), list[str]()
            known = set(self.relevant[query.id])
            bar = self._bar([of_query[document] for document in self.relevant[query.id]]) if of_query else None
            near = Shingled(self._texts(self.relevant[query.id])) if self.settings.similarity else None
            for document in candidates:
                if len(kept) == self.settings.keep:
                    break
                if document in known:
                    dropped[RELEVANT] += 1
                elif bar is not None and of_query[document] >= bar:
                    dropped[ABOVE] += 1
                elif near is not None and near.nearest(self._text(document)) >= (self.settings.similarity or 1):
                    dropped[NEAR] += 1
                else:
                    kept.append(document)
            yield {"query": query.id, "negatives": kept, "dropped": dropped}

    def _candidates(self, query: Query, rankings: list[Run]) -> list[str]:
        """What the sources rank for a query, taking turns, each document once."""
        known, settings = self.dataset.corpus.number_of, self.settings
        ranked = [list(best(run.get(query.id, {}), settings.depth))[settings.skip :] for run in rankings]
        turns = (document for turn in zip_longest(*ranked) for document in turn)
        return list(dict.fromkeys(document for document in turns if document is not None and document in known))

    def _scores(self, queries: list[Query], listed: list[list[str]]) -> list[dict[str, float]]:
        """The guide's scores of each query's candidates and relevant documents."""
        if self.guide is None:
            return [{} for _ in queries]
        asked = [
            (number, document)
            for number, (query, candidates) in enumerate(zip(queries, listed, strict=True))
            for document in dict.fromkeys([*self.relevant[query.id], *candidates])
        ]
        texts = self._texts([document for _, document in asked])
        pairs = [(queries[number].text, text) for (number, _), text in zip(asked, texts, strict=True)]
        found: list[dict[str, float]] = [{} for _ in queries]
        for (number, document), score in zip(asked, self.guide.score(pairs).tolist(), strict=True):
            found[number][document] = score
        return found

    def _bar(self, relevant: list[float]) -> float:
        """The score that a negative must stay below."""
        lowest, settings = min(relevant), self.settings
        bars = [lowest - settings.margin] if settings.margin is not None else []
        if settings.relative_margin is not None:
            bars.append(lowest * settings.relative_margin if lowest > 0 else lowest / settings.relative_margin)
        return min(bars)

    def _texts(self, documents: Iterable[str]) -> list[str]:
        return list(self.dataset.corpus.texts([self.dataset.corpus.number_of[document] for document in documents]))

    def _text(self, document: str) -> str:
        return self._texts([document])[0]


def _whole(file: Path) -> int:
    """How many queries an unfinished file has whole; what a kill left of another is cut off."""
    if not file.exists():
        return 0
    lines = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]
    file.write_bytes(b"".join(lines))
    return len(lines)
