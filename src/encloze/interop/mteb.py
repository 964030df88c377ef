"""Wrapper that lets MTEB 2 evaluate systems of encloze as search models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.mteb import Mteb, query_text
from encloze.data.records import Document, Query, Run
from encloze.errors import RecipeError, importable
from encloze.settings import plain
from encloze.storage.cache import temporary_folder
from encloze.storage.hashes import hash_of, hash_tree
from encloze.systems.base import PreparedSystem, System

_UNKNOWN_METADATA = (
    "release_date languages n_parameters memory_usage_mb max_tokens embed_dim license open_weights "
    "public_training_code public_training_data similarity_fn_name use_instructions training_datasets"
)


class MtebSearch:
    """A retrieval system that ``mteb.evaluate`` accepts as a model (``SearchProtocol`` of mteb 2.26).

    Source of the protocol: https://github.com/embeddings-benchmark/mteb, ``mteb/models/models_protocols.py``.

    Args:
        system: A ``System``, the name of a system as in a recipe (``"bm25"``, ``"hybrid"``), or a model folder.
        settings: Settings of the system, if ``system`` is a name or a folder.

    Raises:
        RecipeError: If the system has documents or rankings of its own (an index folder or a TREC run), or is tuned on
            a split. MTEB provides the documents, and has no split for tuning.

    Example:
        >>> system = MtebSearch("hybrid", model="retriever")
        >>> results = mteb.evaluate(system, mteb.get_tasks(["NFCorpus"]))
    """

    def __init__(self, system: System | str | Path, /, **settings: Any) -> None:
        self.system = system if isinstance(system, System) else _build(str(system), settings)
        if "documents" not in self.system.depends_on or self.system.tuned_on or len(self.system.parts()) > 1:
            message = (
                f"{self.system.default_title()} cannot rank the documents that MTEB provides. Use a system without "
                "documents of its own and without tuning"
            )
            raise RecipeError("MtebSearch", [("system", message)])
        self._resources = ExitStack()
        self._prepared: PreparedSystem | None = None
        self._num_documents = 0

    @property
    def mteb_model_meta(self) -> Any:
        """MTEB's description (ModelMeta) of the system. Its revision is a hash of the system's settings and files."""
        files = {name: _hash_input(path) for name, path in self.system.inputs().items()}
        return importable("mteb.models.model_meta", "mteb").ModelMeta(
            loader=None,
            name=f"encloze/{self.system.title or self.system.default_title()}".replace(" ", "-"),
            revision=hash_of((plain(self.system), files))[:16],
            framework=[],
            **dict.fromkeys(_UNKNOWN_METADATA.split()),
        )

    def index(self, corpus: Iterable[Mapping[str, Any]], *, task_metadata: Any, hf_subset: str, **_: Any) -> None:
        """Encode and index documents, which replace the documents of an earlier call.

        Args:
            corpus: Rows with ``id``, ``text`` and optionally ``title``.
            task_metadata: MTEB's description of the task (``TaskMetadata``); only its name is used.
            hf_subset: Name of the task's subset, such as a language.
        """
        self.close()
        folder = self._resources.enter_context(temporary_folder())
        dataset = DatasetSplit(Mteb(task_metadata.name, hf_subset), "")
        documents = [Document(str(row["id"]), row.get("title") or "", row["text"]) for row in corpus]
        dataset.corpus, dataset.judgments = Corpus.from_documents(documents, folder / "documents.arrow"), {}
        self._num_documents = len(documents)
        self._prepared = self._resources.enter_context(self.system.prepare(dataset))

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> Run:
        """Rank the indexed documents.

        Args:
            queries: Rows with ``id``, ``text`` and optionally ``instruction``, which is appended to the text.
            top_k: Number of documents to return for each query.
            top_ranked: For re-ranking tasks: ids of the documents to rank, by query id. By default all documents are
                ranked.

        Returns:
            Scores by query id and document id, best first.

        Raises:
            RuntimeError: If ``index`` was not called before.
        """
        if self._prepared is None:
            raise RuntimeError("the documents are not indexed: call index() before search()")
        rows = [Query(str(row["id"]), query_text(dict(row))) for row in queries]
        run, _milliseconds = self._prepared.run(rows, self._num_documents if top_ranked else top_k)
        return run if top_ranked is None else _select_documents(run, top_ranked, top_k)

    def close(self) -> None:
        """Delete the temporary files of the index."""
        self._prepared = None
        self._resources.close()


def _build(name: str, settings: dict[str, Any]) -> System:
    system: System = recipe.coerce(System, {"type": name, **settings}, source="MtebSearch", name="system")
    return system


def _hash_input(path: Path | str) -> str:
    return hash_tree(Path(path)) if Path(path).exists() else str(path)


def _select_documents(run: Run, candidates: Mapping[str, Sequence[str]], depth: int) -> Run:
    """Keep, for each query, only the ``depth`` highest-ranked documents among the query's ``candidates``."""
    selected = {}
    for query, scores in run.items():
        allowed = set(candidates.get(query, scores))
        ranked = [(document, score) for document, score in scores.items() if document in allowed]
        selected[query] = dict(ranked[:depth])
    return selected
