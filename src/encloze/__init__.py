"""encloze turns a person's own text into a retriever.

The public names, each loaded on first use, so that ``import encloze`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encloze.data.corpus import Corpus
    from encloze.data.dataset import Dataset
    from encloze.data.formats.base import Format
    from encloze.data.records import Document, Hit, Judgment, Query
    from encloze.encoders import load_encoder
    from encloze.errors import EnclozeError
    from encloze.interop.flag_embedding import ModelArguments, RetroMAECollator, RetroMAEForPretraining
    from encloze.models.bi_encoder import BiEncoder
    from encloze.pipelines.compare import Compare
    from encloze.searcher import Searcher
    from encloze.tasks.evaluate import Evaluate
    from encloze.tasks.finetune import Finetune
    from encloze.tasks.index import Index
    from encloze.tasks.inspect import Inspect
    from encloze.tasks.merge import Merge
    from encloze.tasks.pretrain import Pretrain
    from encloze.tasks.report import MakeReport
    from encloze.tasks.search import Search

_PLACES = {
    "BiEncoder": "models.bi_encoder",
    "Compare": "pipelines.compare",
    "Corpus": "data.corpus",
    "Dataset": "data.dataset",
    "Document": "data.records",
    "EnclozeError": "errors",
    "Evaluate": "tasks.evaluate",
    "Finetune": "tasks.finetune",
    "Format": "data.formats.base",
    "Hit": "data.records",
    "Index": "tasks.index",
    "Inspect": "tasks.inspect",
    "Judgment": "data.records",
    "MakeReport": "tasks.report",
    "Merge": "tasks.merge",
    "ModelArguments": "interop.flag_embedding",
    "Pretrain": "tasks.pretrain",
    "Query": "data.records",
    "RetroMAECollator": "interop.flag_embedding",
    "RetroMAEForPretraining": "interop.flag_embedding",
    "Search": "tasks.search",
    "Searcher": "searcher",
    "load_encoder": "encoders",
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
    "RetroMAECollator",
    "RetroMAEForPretraining",
    "Search",
    "Searcher",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'encloze' has no attribute {name!r}")
    return getattr(importlib.import_module(f"encloze.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
