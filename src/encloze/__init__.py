"""Train, evaluate and serve retrieval models on your own text.

Public names are imported on first use, so that ``import encloze`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encloze.api.evaluation import (
        compare,
        compress,
        encode,
        evaluate,
        gate,
        index,
        inspect,
        plan,
        probe,
        reindex,
        report,
        robustness,
        threshold,
    )
    from encloze.api.pipelines import rerun, run, verify
    from encloze.api.serving import label, serve
    from encloze.api.training import (
        calibrate,
        distill,
        export,
        finetune,
        finetune_classifier,
        finetune_reranker,
        generate,
        merge,
        mine,
        pretrain,
        prune_vocabulary,
        score,
    )
    from encloze.commands.compare import Compare
    from encloze.commands.evaluate import Evaluate
    from encloze.commands.finetune import Finetune
    from encloze.commands.index import Index
    from encloze.commands.inspect import Inspect
    from encloze.commands.merge import Merge
    from encloze.commands.mine import Mine
    from encloze.commands.pretrain import Pretrain
    from encloze.commands.report import MakeReport
    from encloze.commands.robustness import Robustness
    from encloze.commands.score import Score
    from encloze.commands.search import Search
    from encloze.data.collection import Dataset
    from encloze.data.corpus import Corpus
    from encloze.data.dataset import DatasetSplit
    from encloze.data.formats.base import Format
    from encloze.data.records import Document, Hit, Judgment, Query, Representation
    from encloze.encoders.base import Encoder
    from encloze.errors import EnclozeError
    from encloze.interop.flag_embedding import ModelArguments, RetroMAECollator, RetroMAEForPretraining
    from encloze.losses.base import Loss
    from encloze.models.bi_encoder import BiEncoder
    from encloze.models.cross_encoder import CrossEncoder
    from encloze.objectives.base import Objective
    from encloze.retrieval.retriever import Retriever

_MODULES = {
    "BiEncoder": "models.bi_encoder",
    "Compare": "commands.compare",
    "Corpus": "data.corpus",
    "CrossEncoder": "models.cross_encoder",
    "Dataset": "data.collection",
    "DatasetSplit": "data.dataset",
    "Document": "data.records",
    "EnclozeError": "errors",
    "Encoder": "encoders.base",
    "Evaluate": "commands.evaluate",
    "Finetune": "commands.finetune",
    "Format": "data.formats.base",
    "Hit": "data.records",
    "Index": "commands.index",
    "Inspect": "commands.inspect",
    "Judgment": "data.records",
    "Loss": "losses.base",
    "MakeReport": "commands.report",
    "Merge": "commands.merge",
    "Mine": "commands.mine",
    "ModelArguments": "interop.flag_embedding",
    "Objective": "objectives.base",
    "Pretrain": "commands.pretrain",
    "Query": "data.records",
    "Representation": "data.records",
    "Retriever": "retrieval.retriever",
    "RetroMAECollator": "interop.flag_embedding",
    "RetroMAEForPretraining": "interop.flag_embedding",
    "Robustness": "commands.robustness",
    "Score": "commands.score",
    "Search": "commands.search",
    **dict.fromkeys(
        "compare compress encode evaluate gate index inspect plan probe reindex report robustness threshold".split(),
        "api.evaluation",
    ),
    **dict.fromkeys("rerun run verify".split(), "api.pipelines"),
    **dict.fromkeys("label serve".split(), "api.serving"),
    **dict.fromkeys(
        (
            "calibrate distill export finetune finetune_classifier finetune_reranker generate merge mine pretrain "
            "prune_vocabulary score"
        ).split(),
        "api.training",
    ),
}

__all__ = [
    "BiEncoder",
    "Compare",
    "Corpus",
    "CrossEncoder",
    "Dataset",
    "DatasetSplit",
    "Document",
    "EnclozeError",
    "Encoder",
    "Evaluate",
    "Finetune",
    "Format",
    "Hit",
    "Index",
    "Inspect",
    "Judgment",
    "Loss",
    "MakeReport",
    "Merge",
    "Mine",
    "ModelArguments",
    "Objective",
    "Pretrain",
    "Query",
    "Representation",
    "Retriever",
    "RetroMAECollator",
    "RetroMAEForPretraining",
    "Robustness",
    "Score",
    "Search",
    "calibrate",
    "compare",
    "compress",
    "distill",
    "encode",
    "evaluate",
    "export",
    "finetune",
    "finetune_classifier",
    "finetune_reranker",
    "gate",
    "generate",
    "index",
    "inspect",
    "label",
    "merge",
    "mine",
    "plan",
    "pretrain",
    "probe",
    "prune_vocabulary",
    "reindex",
    "report",
    "rerun",
    "robustness",
    "run",
    "score",
    "serve",
    "threshold",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'encloze' has no attribute {name!r}")
    return getattr(importlib.import_module(f"encloze.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
