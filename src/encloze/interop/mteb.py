"""MTEB 2: any system of encloze's, a hybrid of views too, as one of its search models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.mteb import Mteb, asked
from encloze.data.records import Document, Query, Run
from encloze.errors import RecipeError, importable
from encloze.settings import plain
from encloze.storage.cache import temporary_folder
from encloze.storage.hashes import hash_of, hash_tree
from encloze.systems.base import Ready, System


class MtebSearch:
    """What ``mteb.evaluate`` takes for a model that searches by itself (its ``SearchProtocol``).

    ``mteb.evaluate(MtebSearch("hybrid", model="FOLDER"), mteb.get_tasks(["NFCorpus"]))``

    Source: https://github.com/embeddings-benchmark/mteb, ``mteb/models/models_protocols.py`` (2.26).
    """

    def __init__(self, system: System | str | Path, /, **settings: Any) -> None:
        """``system`` is one of encloze's, or is named as in a recipe, with its settings: ``"bm25"``, a model folder.

        Raises RecipeError for one that has its documents from elsewhere (an index folder, a run) or is tuned on a
        split: MTEB brings the documents, and has no other split.
        """
        self.system = system if isinstance(system, System) else _built(str(system), settings)
        if "documents" not in self.system.heeds or self.system.tuned_on or len(self.system.parts()) > 1:
            raise RecipeError(
                "MtebSearch", [("system", f"{self.system.label()} cannot rank whatever documents MTEB brings")]
            )
        self._held = ExitStack()
        self._ready: Ready | None = None
        self._documents = 0

    @property
    def mteb_model_meta(self) -> Any:
        """MTEB keeps results by this name and revision: the hash of the system's settings and of its model's files."""
        files = {name: _hashed(place) for name, place in self.system.inputs().items()}
        unknown = dict.fromkeys(
            "release_date languages n_parameters memory_usage_mb max_tokens embed_dim license open_weights "
            "public_training_code public_training_data similarity_fn_name use_instructions training_datasets".split()
        )
        return importable("mteb.models.model_meta", "mteb").ModelMeta(
            loader=None,
            name=f"encloze/{self.system.title or self.system.label()}".replace(" ", "-"),
            revision=hash_of((plain(self.system), files))[:16],
            framework=[],
            **unknown,
        )

    def index(self, corpus: Iterable[Mapping[str, Any]], *, task_metadata: Any, hf_subset: str, **_: Any) -> None:
        """Read, encode and index the documents; what the last call made is gone."""
        self.close()
        folder = self._held.enter_context(temporary_folder())
        dataset = DatasetSplit(Mteb(task_metadata.name, hf_subset), "")
        documents = [Document(str(row["id"]), row.get("title") or "", row["text"]) for row in corpus]
        dataset.corpus, dataset.judgments = Corpus.of(documents, folder / "documents.arrow"), {}
        self._documents = len(documents)
        self._ready = self._held.enter_context(self.system.ready(dataset))

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> Run:
        """Scores by query and document: the best ``top_k``, of the documents ``top_ranked`` lists where it is given."""
        if self._ready is None:
            raise RuntimeError("search() comes after index()")
        found, _ms = self._ready.run(
            [Query(str(row["id"]), asked(dict(row))) for row in queries], self._documents if top_ranked else top_k
        )
        return found if top_ranked is None else dict(_listed(found, top_ranked, top_k))

    def close(self) -> None:
        """Give back what the index holds on the disk."""
        self._ready = None
        self._held.close()


def _built(name: str, settings: dict[str, Any]) -> System:
    made: System = recipe.build(System, {"type": name, **settings}, source="MtebSearch")
    return made


def _hashed(place: Path | str) -> str:
    return hash_tree(Path(place)) if Path(place).exists() else str(place)


def _listed(run: Run, listed: Mapping[str, Sequence[str]], depth: int) -> Iterator[tuple[str, dict[str, float]]]:
    for query, scores in run.items():
        wanted = set(listed.get(query, scores))
        kept = [(document, score) for document, score in scores.items() if document in wanted]
        yield query, dict(kept[:depth])
