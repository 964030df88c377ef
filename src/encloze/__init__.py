"""encloze turns a person's own text into a retriever.

The public names, each loaded on first use, so that ``import encloze`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encloze.commands.compare import Compare
    from encloze.commands.evaluate import Evaluate
    from encloze.commands.finetune import Finetune
    from encloze.commands.index import Index
    from encloze.commands.inspect import Inspect
    from encloze.commands.merge import Merge
    from encloze.commands.pretrain import Pretrain
    from encloze.commands.report import MakeReport
    from encloze.commands.search import Search
    from encloze.data.corpus import Corpus
    from encloze.data.dataset import Dataset
    from encloze.data.formats.base import Format
    from encloze.data.records import Document, Hit, Judgment, Query
    from encloze.encoders.base import load_encoder
    from encloze.errors import EnclozeError
    from encloze.interop.flag_embedding import ModelArguments, RetroMAECollator, RetroMAEForPretraining
    from encloze.models.bi_encoder import BiEncoder
    from encloze.retrieval.retriever import Retriever

_PLACES = {
    "BiEncoder": "models.bi_encoder",
    "Compare": "commands.compare",
    "Corpus": "data.corpus",
    "Dataset": "data.dataset",
    "Document": "data.records",
    "EnclozeError": "errors",
    "Evaluate": "commands.evaluate",
    "Finetune": "commands.finetune",
    "Format": "data.formats.base",
    "Hit": "data.records",
    "Index": "commands.index",
    "Inspect": "commands.inspect",
    "Judgment": "data.records",
    "MakeReport": "commands.report",
    "Merge": "commands.merge",
    "ModelArguments": "interop.flag_embedding",
    "Pretrain": "commands.pretrain",
    "Query": "data.records",
    "RetroMAECollator": "interop.flag_embedding",
    "RetroMAEForPretraining": "interop.flag_embedding",
    "Search": "commands.search",
    "Retriever": "retrieval.retriever",
    "load_encoder": "encoders.base",
}

__all__ = [
    "BiEncoder",
    "Compare",
    "Corpus",
    "Dataset",
    "Document",
    "EnclozeError",
    "Evaluate",
    "Finetune",
    "Format",
    "Hit",
    "Index",
    "Inspect",
    "Judgment",
    "MakeReport",
    "Merge",
    "ModelArguments",
    "Pretrain",
    "Query",
    "Retriever",
    "RetroMAECollator",
    "RetroMAEForPretraining",
    "Search",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'encloze' has no attribute {name!r}")
    return getattr(importlib.import_module(f"encloze.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
