"""Writing of index folders: the indexes, in the folder or in a search engine, and their fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from encloze import recipe
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.encoders.base import Encoder
from encloze.retrieval.engine_building import IndexTarget, build_engine_index
from encloze.retrieval.index_building import build_index
from encloze.search.fusions.base import Fusion
from encloze.search.indexes.base import Index
from encloze.settings import plain
from encloze.storage.atomic import atomic_folder
from encloze.storage.provenance import write_provenance


def write_index(
    folder: Path,
    corpus: Corpus,
    indexes: Sequence[Index],
    encoder: Encoder | None,
    fusion: Fusion | None,
    tuning: DatasetSplit | None,
    dataset: DatasetSplit | None = None,
    vectors: Path | None = None,
    target: IndexTarget | None = None,
) -> list[dict[str, Any]]:
    """Build the indexes in an existing empty folder, and store their fusion. Return their descriptions.

    Args:
        folder: The folder.
        corpus: The documents.
        indexes: The indexes; if empty, those of ``default_indexes``.
        encoder: Encoder of the documents; None if all indexes are built from text.
        fusion: The fusion to store; None to choose it.
        tuning: Judged queries on which the weights of the fusion are tuned; None for those of ``dataset``.
        dataset: Data set whose split dev or validation is used for tuning by default.
        vectors: File with the vectors of the documents; by default they are computed.
        target: The search engine to which the documents are sent, if any.
    """
    from encloze.retrieval.tuning import fit_index_fusion, opened_views  # imports scipy, which searches do not need

    if target is None or target.engine is None:
        entries = build_index(corpus, indexes, encoder, folder, vectors=vectors)
        fit_index_fusion(folder, opened_views(folder, entries, encoder), corpus, fusion, dataset, tuning)
        return entries
    with build_engine_index(corpus, indexes, encoder, folder, vectors, target, target.engine) as (entries, found):
        views = [
            replace(view, encoder=encoder if entry["model"] else None)
            for view, entry in zip(found, entries, strict=True)
        ]
        fit_index_fusion(folder, views, corpus, fusion, dataset, tuning)
    return entries


def write_index_folder(
    target: IndexTarget,
    corpus: Corpus,
    indexes: Sequence[Index],
    encoder: Encoder | None,
    fusion: Fusion | None,
    tuning: DatasetSplit | None,
    settings: Mapping[str, Any],
) -> None:
    """Write an index folder with its provenance, whole or not at all.

    Args:
        target: The folder, whether it may be replaced, and the search engine of the documents, if any.
        corpus: The documents.
        indexes: The indexes (see ``write_index``).
        encoder: Encoder of the documents.
        fusion: The fusion to store.
        tuning: Judged queries on which the weights of the fusion are tuned.
        settings: Further settings of the command ``index`` that would write the folder.
    """
    name = encoder.name if encoder else None
    with atomic_folder(target.output, overwrite=target.overwrite) as staging:
        write_index(staging, corpus, indexes, encoder, fusion, tuning, target=target)
        content = {
            "verb": "index",
            "output": str(target.output),
            "corpus": plain(corpus.format),
            "model": name,
            **settings,
        }
        write_provenance(staging, recipe.dump_tree(content), {**corpus.inputs(), "model": name})
