"""Encoding of the documents of systems by an executor, before the systems are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from encloze.data.corpus import Corpus
from encloze.encoders.base import Encoder, load_encoder
from encloze.errors import RecipeError
from encloze.execution.encodings import cache_limit, encode_corpus
from encloze.execution.executors.base import Executor
from encloze.execution.executors.local import Local
from encloze.systems.base import System


def check_one_command(execution: Executor) -> None:
    """Raise ValueError for an executor whose processes all run the command, if only one process can run it."""
    if execution.is_launched:
        raise ValueError(
            f"execution {execution.name} is for the commands encode and index. Encode the documents with it first: "
            "this command then reads their representations from the cache"
        )


def encode_for_systems(systems: Iterable[System], corpus: Corpus, execution: Executor) -> None:
    """Encode the documents that systems search by an executor (see ``encode_ahead``)."""
    if isinstance(execution, Local):
        return  # so that no model is loaded twice
    for model, precision in dict.fromkeys(pair for system in systems for pair in system.encoders()):
        encode_ahead(load_encoder(model, precision), corpus, execution)


def encode_ahead(encoder: Encoder, corpus: Corpus, execution: Executor) -> None:
    """Encode documents by an executor, so that later calls of ``encode_corpus`` read them from the cache.

    Raises:
        RecipeError: The cache is disabled.
    """
    if isinstance(execution, Local):
        return  # a later call encodes them in this process
    if not cache_limit():
        message = "workers pass representations on through the cache: set ENCLOZE_ENCODINGS above 0, or use local"
        raise RecipeError("the execution", [("type", message)])
    deque(encode_corpus(encoder, corpus, execution), maxlen=0)
