"""Mining of hard negatives as the first step of ``finetune``."""

from __future__ import annotations

from pathlib import Path

from accelerate import PartialState

from encloze import progress
from encloze.commands._retrieval_sample import RetrievalSample
from encloze.commands.mine import Mine
from encloze.data.dataset import DatasetSplit
from encloze.data.runs import RUN_FILE
from encloze.encoders.base import load_encoder
from encloze.errors import RecipeError
from encloze.models.origins.base import Origin
from encloze.models.origins.pretrained import Pretrained
from encloze.retrieval.tuning_queries import queries_with_documents
from encloze.storage.run_state import RunState
from encloze.systems.bm25 import Bm25
from encloze.systems.model import Model

_RANGE_MAX, _NUM_NEGATIVES = 30, 20
_RELATIVE_MARGIN = 0.05  # TopK-PercPos with 95 %, the best filter in NV-Retriever (https://arxiv.org/abs/2407.15831)
_UNUSABLE = 1 / 3
"""A model with less than this share of BM25's nDCG@10 is neither a source nor the scorer."""


def mine_negatives(dataset: DatasetSplit, model: Origin, state: RunState, seed: int) -> Path | None:
    """Mine hard negatives with BM25 and the initial model, filtered by the scores of the initial model.

    A model that ranks much worse than BM25, such as one that was not trained for retrieval, is not used.

    Args:
        dataset: The split to train on.
        model: The initial model.
        state: Opened work folder of the training run. It holds the negatives, so that a resumed run need not mine them
            again.
        seed: Seed of the documents on which the model and BM25 are compared.

    Returns:
        The folder with the TREC run of negatives; None if there are no negatives, as in very small collections.

    Raises:
        RecipeError: There are several processes.
    """
    if PartialState().num_processes > 1:
        message = "mining runs in one process only. Run encloze mine first, and set negatives to its output"
        raise RecipeError("the recipe", [("mine_negatives", message)])
    folder = state.folder / "negatives"
    if not (folder / RUN_FILE).is_file():
        name = model.model if isinstance(model, Pretrained) and _ranks_well(model.model, dataset, seed) else None
        mine = Mine(
            dataset.format,
            folder,
            (Bm25(), Model(name)) if name else (Bm25(),),
            dataset.split,
            range_max=_RANGE_MAX,
            num_negatives=_NUM_NEGATIVES,
            scorer=name,
            relative_margin=_RELATIVE_MARGIN if name else None,
            resume=RunState(folder).folder.exists(),
        )
        if not mine.run().negatives:
            progress.warn("no hard negatives were found: in-batch negatives are the only ones")
            return None
    return folder


def _ranks_well(model: str, dataset: DatasetSplit, seed: int) -> bool:
    """Return whether a model can find negatives: whether its nDCG@10 on training queries is not far below BM25's."""
    usable = queries_with_documents(dataset)
    if not usable.queries:
        return False  # mining reports the error
    sample = RetrievalSample(usable, seed, max_queries=100, max_documents=200)
    progress.note(f"Evaluating {model} and BM25 on {len(sample.queries)} training queries")
    of_model, of_bm25 = sample.evaluate(load_encoder(model)).mean(), sample.evaluate_bm25().mean()
    if of_model >= of_bm25 * _UNUSABLE:
        return True
    progress.note(
        f"Negatives are mined with BM25 only, because the nDCG@10 of {model} is {of_model:.3f} on training queries and "
        f"that of BM25 {of_bm25:.3f}"
    )
    return False
