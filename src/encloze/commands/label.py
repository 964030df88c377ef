"""Judge the documents that several systems rank, on a page."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from encloze import progress, recipe
from encloze.commands._http import checked_keys, serve_http
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.query_file import read_query_file
from encloze.data.records import Judgments, Query, Run
from encloze.errors import CheckpointError, DataError, StorageError
from encloze.evaluation.pooled_judgments import PooledJudgments
from encloze.evaluation.pooling import Pool
from encloze.settings import PositiveInt, Range, Seed, plain
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.checked_json import read_checked_json, write_checked_json
from encloze.storage.provenance import write_provenance
from encloze.systems.base import System, inputs_of, unique_titles

if TYPE_CHECKING:
    from encloze.serving.gate import Application
    from encloze.serving.judgments import JudgmentFile
    from encloze.serving.keys import ApiKeys

_POOL, _SETTINGS, _JUDGED = "pool.json", "pool_settings.json", "judged"
_POOLED = ("dataset", "systems", "queries", "split", "depth", "seed")
"""Settings that determine the pool. The others may differ when the same output is opened again."""


@dataclass(frozen=True)
class LabelingResult:
    """Result of ``label``: the folder with the judgments.

    Attributes:
        folder: Folder with queries and judgments in BEIR layout; the split is ``judged``.
        judged: Number of pooled documents that are judged, over all queries.
        documents: Number of pooled documents, over all queries.
        complete: Number of queries whose pooled documents are all judged.
        queries: Number of queries.
    """

    folder: Path
    judged: int
    documents: int
    complete: int
    queries: int


@dataclass(frozen=True)
class Label(Command, name="label"):
    """Judge the documents that several systems rank, on a page.

    The best documents of all systems are pooled. Queries and documents on which the systems disagree come first, and
    the page shows what the judgments say about the systems so far, and how many more are needed. Judgments are stored
    at once. The service runs until it gets SIGINT (Ctrl-C) or SIGTERM; the same command continues later.

    Example:
        >>> Label(dataset="my_data", systems=["bm25", "minilm"], output="labeled").run()
    """

    dataset: Format
    """Documents and, unless the setting queries is given, queries."""
    systems: tuple[System, ...]
    """Systems whose documents are judged, the baseline first: bm25, a model's name or folder, an index folder, a TREC
    run file."""
    output: Path
    """Folder for the judgments. If it exists and was made with the same settings, judging continues."""
    queries: Path | None = None
    """File of queries: a text file with one in each line, or .tsv or .jsonl with ids and texts."""
    split: str | None = None
    """Split of the data set whose queries are judged. Its judgments are taken over. By default all queries, without
    judgments."""
    depth: PositiveInt = 10
    """Number of documents of each system and query that are judged. Systems are compared by nDCG at this depth."""
    grades: tuple[str, ...] = ("not relevant", "related", "highly relevant", "perfectly relevant")
    """Names of the grades 0, 1 and so on; those of TREC's deep learning track by default."""
    host: str = "127.0.0.1"
    """Address to listen on. Other addresses than those of this machine itself (loopback) need API keys."""
    port: Annotated[int, Range(ge=0, le=65535)] = 8080
    """Port to listen on; 0 for any free one."""
    api_keys: Path | None = None
    """File of API keys, with NAME SCOPE KEY in each line; judging needs the scope write. By default the environment
    variable ENCLOZE_API_KEYS, in which commas separate keys."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names under which browsers reach the service. By default, without API keys only localhost, and with keys
    any."""
    seed: Seed = 0
    """Seed of the order of the queries."""
    overwrite: bool = False
    """Whether an existing output folder is replaced. A folder with judgments is never replaced."""

    def __post_init__(self) -> None:
        if not self.systems:
            raise ValueError("systems is empty. Name at least one system, as in --systems bm25,minilm")
        if not 2 <= len(self.grades) <= 10 or len(set(self.grades)) < len(self.grades):
            raise ValueError("grades must be from 2 to 10 different names")
        if self.queries and self.split:
            raise ValueError("the split belongs to the queries of the data set. Leave out queries or split")

    @locks_output
    def run(self) -> LabelingResult:
        """Pool the documents, and serve the page until the process is stopped.

        Raises:
            DataError: There are no queries, or a system ranks documents that the data set does not have.
            StorageError: The output folder exists, and was made with other settings or by another command.
        """
        checked_keys(self.host, self.api_keys)  # before documents are ranked, which may take long
        from encloze.serving.judgments import JudgmentFile

        split = self._split()
        if self.overwrite or not self._is_begun():
            self._write_pool(split)
        pool = Pool.load(self.output / _POOL)
        self._check_unchanged(pool, split)
        file = JudgmentFile(self.output / _JUDGED, {one.query.text: one.query.id for one in pool.queries})
        try:
            self._take_over(split.judgments, pool, file)
            self._serve(split, pool, file)
            judgments = PooledJudgments(pool, file.judgments())
        finally:
            file.close()
        return LabelingResult(
            folder=file.folder,
            judged=judgments.num_judged,
            documents=pool.num_documents,
            complete=judgments.num_complete,
            queries=len(pool.queries),
        )

    def _serve(self, split: DatasetSplit, pool: Pool, file: JudgmentFile) -> None:
        def create(keys: ApiKeys, hosts: Collection[str]) -> Application:
            from encloze.serving.labeling import Labeling, create_labeling_app

            return create_labeling_app(Labeling(pool, split.corpus, file, self.grades), keys, hosts)

        serve_http(self.host, self.port, self.api_keys, self.allowed_hosts, 5, create)

    def _is_begun(self) -> bool:
        """Return whether the output contains a pool. Raises StorageError if it was made with other settings."""
        if not (self.output / _POOL).is_file():
            return False
        before, now = read_checked_json(self.output / _SETTINGS), self._pool_settings()
        if changed := [name for name in _POOLED if before.get(name) != now[name]]:
            raise CheckpointError(
                f"{self.output} was begun with other settings ({', '.join(changed)}). Give the same ones, or choose "
                "another --output"
            )
        return True

    def _check_unchanged(self, pool: Pool, split: DatasetSplit) -> None:
        """Raise DataError if the queries or the documents are not those of the pool."""
        pooled = {document for one in pool.queries for document in one.documents}
        if {one.query for one in pool.queries} != set(split.queries) or not pooled <= split.corpus.number_of.keys():
            raise DataError(
                f"the queries or the documents have changed since {self.output} was begun. Choose another --output"
            )

    def _pool_settings(self) -> dict[str, Any]:
        return {name: value for name, value in plain(self).items() if name in _POOLED}

    def _split(self) -> DatasetSplit:
        """Return the documents, the queries to judge, and the judgments to take over."""
        split = DatasetSplit(self.dataset, self.split or "judged")
        if self.split:
            self._check_grades(split.judgments)
            queries = split.queries
        else:
            queries = read_query_file(self.queries) if self.queries else list(split.all_queries.values())
            split.judgments = {}
        by_text = dict[str, Query]()
        for query in queries:
            by_text.setdefault(" ".join(query.text.split()), query)
        if repeated := len(queries) - len(by_text):
            progress.note(f"{repeated:,} queries have the same text as another one, and are left out")
        if not by_text:
            raise DataError(f"{self.dataset.location()} has no queries. Give a file of them (--queries)")
        split.queries = list(by_text.values())
        return split

    def _check_grades(self, judgments: Judgments) -> None:
        found = {grade for of in judgments.values() for grade in of.values()}
        if unnamed := sorted(found - set(range(len(self.grades)))):
            raise DataError(
                f"{self.dataset.location()}: the split {self.split!r} has the grade {unnamed[0]}, and the grades are "
                f"from 0 to {len(self.grades) - 1}. Name all of them, as in --grades 'no,partly,yes'"
            )

    def _write_pool(self, split: DatasetSplit) -> None:
        self._remove_empty_judgments()
        refuse_existing(self.output, overwrite=self.overwrite)
        for system in self.systems:
            system.check_files()
            system.check_dataset(split)
        titles = unique_titles(self.systems)
        runs = {title: self._rank(title, system, split) for title, system in zip(titles, self.systems, strict=True)}
        with atomic_folder(self.output, overwrite=self.overwrite) as folder:
            Pool.from_runs(runs, split.queries, self.depth, self.seed).save(folder / _POOL)
            write_checked_json(folder / _SETTINGS, self._pool_settings())
            queries: dict[str, Path | str] = {"queries": self.queries} if self.queries else {}
            inputs = self.dataset.inputs("dataset") | queries | inputs_of(self.systems, "systems")
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)

    def _remove_empty_judgments(self) -> None:
        """Remove the folder of judgments of an output that is replaced. Raises StorageError if there are judgments."""
        from encloze.serving.judgments import JudgmentFile

        if not (self.output / _POOL).is_file() or not (self.output / _JUDGED).is_dir():
            return
        file = JudgmentFile(self.output / _JUDGED)
        file.close()
        if len(file):
            raise StorageError(
                f"{self.output} contains {len(file):,} judgments, which are not deleted. Move it, or choose another "
                "--output"
            )
        shutil.rmtree(file.folder)

    def _rank(self, title: str, system: System, split: DatasetSplit) -> Run:
        """Return the ranking of a system, without documents that the data set does not have."""
        progress.note(f"Ranking documents with {title}")
        run = system.rank(split, self.depth).run
        split.check_candidates((document for scores in run.values() for document in scores), title)
        known = split.corpus.number_of
        return {query: {id_: score for id_, score in scores.items() if id_ in known} for query, scores in run.items()}

    def _take_over(self, judgments: Judgments, pool: Pool, file: JudgmentFile) -> None:
        """Store the judgments of the split, unless there are judgments already."""
        texts = {one.query.id: one.query.text for one in pool.queries}
        if judgments and not len(file):
            file.add({texts[query]: grades for query, grades in judgments.items() if query in texts})
