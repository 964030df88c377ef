"""The commands as functions.

Every function takes the settings of its command, by the same names (``encloze COMMAND --help`` lists them), with the
same defaults, checks and errors. Arguments may also be objects: an ``Encoder`` or its name, a ``Retriever``, a
``Dataset``, a ``Corpus``, a path, a list of dictionaries, a data frame, a ``datasets.Dataset``; members of families by
name (``objective="retromae"``) or with settings (``{"type": "retromae", "encoder_mask_rate": 0.3}``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from encloze.commands.base import Command
from encloze.encoders.base import Encoder, load_reranker
from encloze.storage.cache import cache_folder
from encloze.storage.hashes import hash_of

if TYPE_CHECKING:
    from encloze.commands.base import ClassifierTrainingResult, GenerationResult, MiningResult, ScoringResult
    from encloze.commands.index import IndexingResult
    from encloze.commands.report import ReportResult
    from encloze.commands.run import PipelineResult
    from encloze.evaluation.comparison import ComparisonTable
    from encloze.evaluation.inspection import Inspection
    from encloze.evaluation.labels import LabelReport
    from encloze.evaluation.report import Report
    from encloze.evaluation.robustness import RobustnessReport
    from encloze.models.cross_encoder import CrossEncoder


def pretrain(
    model: Encoder | str | Path, corpus: Any, *, output: str | Path, objective: Any = "retromae", **settings: Any
) -> Encoder:
    """Pre-train an encoder on plain text.

    Args:
        model: The encoder to start from, or ``{"type": "scratch", ...}`` for random weights.
        corpus: The texts; see ``Corpus.load``.
        output: The model folder to write.
        objective: The pre-training objective: ``retromae``, ``mlm``, ``cotmae``, ...
        **settings: Settings of ``encloze pretrain``, such as ``training={"steps": 1000}``.

    Returns:
        The trained encoder, loaded from ``output``.

    Raises:
        RecipeError: A setting is wrong.
        StorageError: The output exists.

    Example:
        >>> encoder = encloze.pretrain("minilm", "my_texts", output="adapted", training={"steps": 1000})
    """
    _run("pretrain", model=model, corpus=corpus, objective=objective, output=output, **settings)
    return Encoder.from_pretrained(output)


def finetune(model: Encoder | str | Path, dataset: Any, *, output: str | Path, **settings: Any) -> Encoder:
    """Fine-tune a bi-encoder on queries with relevant documents.

    Args:
        model: The encoder to start from.
        dataset: Documents, queries and judgments; see ``Dataset.load``.
        output: The model folder to write.
        **settings: Settings of ``encloze finetune``, such as ``losses=["contrastive"]``, ``negatives`` (the result of
            ``mine``, or a run) and ``training={"epochs": 3}``.

    Returns:
        The trained encoder, loaded from ``output``.

    Raises:
        RecipeError: A setting is wrong.
        StorageError: The output exists.

    Example:
        >>> encoder = encloze.finetune("minilm", "my_data", output="retriever", training={"epochs": 3})
    """
    _run("finetune", model=model, dataset=dataset, output=output, **settings)
    return Encoder.from_pretrained(output)


def finetune_reranker(
    model: str | Path | CrossEncoder, dataset: Any, *, negatives: Any, output: str | Path, **settings: Any
) -> CrossEncoder:
    """Fine-tune a cross-encoder that scores pairs of a query and a document.

    Args:
        model: The encoder or cross-encoder to start from.
        dataset: Documents, queries and judgments.
        negatives: The result of ``mine``, or a run.
        output: The model folder to write.
        **settings: Settings of ``encloze finetune_reranker``.

    Returns:
        The trained cross-encoder, loaded from ``output``.

    Example:
        >>> reranker = encloze.finetune_reranker("minilm", "my_data", negatives=negatives, output="reranker")
    """
    _run("finetune_reranker", model=model, dataset=dataset, negatives=negatives, output=output, **settings)
    return cast("CrossEncoder", load_reranker(str(output)))


def finetune_classifier(
    model: str | Path | Encoder, dataset: Any, *, output: str | Path, **settings: Any
) -> ClassifierTrainingResult:
    """Fine-tune a classifier of texts, or of words, and evaluate it.

    Args:
        model: The encoder to start from.
        dataset: A folder with ``train`` and ``test`` files of labeled texts.
        output: The model folder to write.
        **settings: Settings of ``encloze finetune_classifier``.

    Example:
        >>> result = encloze.finetune_classifier("adapted", "my_labels", output="classifier")
    """
    return cast(
        "ClassifierTrainingResult",
        _run("finetune_classifier", model=model, dataset=dataset, output=output, **settings),
    )


def mine(
    dataset: Any, *, split: str = "train", sources: Sequence[Any] = ("bm25",), output: Any = None, **settings: Any
) -> MiningResult:
    """Mine hard negatives: documents that rank high for a query and are not relevant.

    Args:
        dataset: Documents, queries and judgments.
        split: The split whose queries are mined for.
        sources: What ranks candidates: ``bm25``, encoders, retrievers, run files; several take turns.
        output: The folder to write; without it, a folder in the cache.
        **settings: Settings of ``encloze mine``, such as ``num_negatives``, ``range_min`` and ``relative_margin``.

    Returns:
        Counts, and the ``folder`` of the run; ``finetune`` and ``finetune_reranker`` take the result as ``negatives``.

    Example:
        >>> negatives = encloze.mine("my_data", sources=["bm25", "minilm"], num_negatives=7)
    """
    values = {"dataset": dataset, "split": split, "sources": list(sources), **settings}
    return cast("MiningResult", _run_cached("mine", output, values))


def score(dataset: Any, model: Any, candidates: Any, *, output: Any = None, **settings: Any) -> ScoringResult:
    """Score pairs of a query and a candidate with a model, as the teacher of a distillation.

    Args:
        dataset: Documents, queries and judgments.
        model: A cross-encoder or bi-encoder.
        candidates: The result of ``mine``, or a run.
        output: The folder to write; without it, a folder in the cache.
        **settings: Settings of ``encloze score``.

    Returns:
        Counts, and the ``folder`` of the run; ``finetune`` takes the result as ``teacher``.

    Example:
        >>> teacher = encloze.score("my_data", "reranker", negatives)
    """
    values = {"dataset": dataset, "model": model, "candidates": candidates, **settings}
    return cast("ScoringResult", _run_cached("score", output, values))


def generate(corpus: Any, generator: Any, *, output: str | Path, **settings: Any) -> GenerationResult:
    """Generate queries for documents with a language model.

    Args:
        corpus: The documents.
        generator: A model folder or hub id, or ``{"type": "endpoint", "url": ..., "model": ...}``.
        output: The data set folder to write.
        **settings: Settings of ``encloze generate``.

    Example:
        >>> encloze.generate("my_texts", "google/flan-t5-small", output="generated")
    """
    values = {"corpus": corpus, "generator": generator, "output": output, **settings}
    return cast("GenerationResult", _run("generate", **values))


def index(corpus: Any, model: Any = None, *, output: str | Path, **settings: Any) -> IndexingResult:
    """Build an index folder. ``Retriever.build`` does the same and opens it.

    Args:
        corpus: The documents.
        model: The encoder; None if all indexes are built from text.
        output: The index folder to write.
        **settings: Settings of ``encloze index``, such as ``indexes=["flat", "bm25"]``.

    Example:
        >>> encloze.index("my_texts", "minilm", output="index", indexes=["flat", "bm25"])
    """
    return cast("IndexingResult", _run("index", corpus=corpus, model=model, output=output, **settings))


def evaluate(systems: Sequence[Any], dataset: Any = None, *, split: str = "test", **settings: Any) -> Report:
    """Evaluate systems on judged queries, with confidence intervals and significance tests.

    Args:
        systems: What to evaluate, the baseline first: ``bm25``, encoders or their names, retrievers, run files.
        dataset: Documents, queries and judgments; None with a ``benchmark``.
        split: The split whose queries are evaluated.
        **settings: Settings of ``encloze evaluate``, such as ``measures=["nDCG@10"]`` and ``output``.

    Returns:
        The report; ``to_pandas()`` gives a table, and notebooks show it as one.

    Example:
        >>> encloze.evaluate(["bm25", "minilm", "retriever"], "my_data", split="test").to_pandas()
    """
    return cast("Report", _run("evaluate", systems=systems, dataset=dataset, split=split, **settings))


def compare(systems: Sequence[Any], dataset: Sequence[Any] | Any = (), **settings: Any) -> ComparisonTable:
    """Compare systems on one or more data sets: means, differences, equivalence, contamination.

    Args:
        systems: What to compare, the baseline first; see ``evaluate``.
        dataset: A data set, or a list of them.
        **settings: Settings of ``encloze compare``.

    Example:
        >>> encloze.compare(["bm25", "minilm"], ["my_data", "other_data"]).to_pandas()
    """
    return cast("ComparisonTable", _run("compare", systems=systems, dataset=dataset, **settings))


def robustness(systems: Sequence[Any], dataset: Any = None, **settings: Any) -> RobustnessReport:
    """Measure how much retrieval quality drops under query and document perturbations.

    Args:
        systems: What to evaluate; see ``evaluate``.
        dataset: Documents, queries and judgments.
        **settings: Settings of ``encloze robustness``, such as ``query_perturbations=["typos"]``.

    Example:
        >>> card = encloze.robustness(["bm25", "minilm"], "my_data", query_perturbations=["typos", "word_order"])
    """
    return cast("RobustnessReport", _run("robustness", systems=systems, dataset=dataset, **settings))


def inspect(corpus: Any, model: Any = (), **settings: Any) -> Inspection:
    """Inspect a collection (lengths, duplicates, truncation) and how encoders represent it.

    Args:
        corpus: The documents.
        model: Encoders to compare, or their names.
        **settings: Settings of ``encloze inspect``.

    Example:
        >>> inspection = encloze.inspect("my_texts", ["minilm", "adapted"])
    """
    return cast("Inspection", _run("inspect", corpus=corpus, model=model, **settings))


def probe(model: Any, dataset: Any, **settings: Any) -> LabelReport:
    """Train a linear classifier on frozen embeddings, and evaluate it.

    Args:
        model: The encoder.
        dataset: A folder with ``train`` and ``test`` files of labeled texts.
        **settings: Settings of ``encloze probe``.

    Example:
        >>> report = encloze.probe("adapted", "my_labels")
    """
    return cast("LabelReport", _run("probe", model=model, dataset=dataset, **settings))


def merge(model: Any, original: Any, *, output: str | Path, **settings: Any) -> Encoder:
    """Interpolate the weights of an adapted encoder and its original.

    Args:
        model: The adapted encoder.
        original: The encoder it was trained from.
        output: The model folder to write.
        **settings: Settings of ``encloze merge``.

    Returns:
        The merged encoder, loaded from ``output``.

    Example:
        >>> encoder = encloze.merge("retriever", "minilm", output="merged")
    """
    _run("merge", model=model, original=original, output=output, **settings)
    return Encoder.from_pretrained(output)


def calibrate(model: Any, dataset: Any, scores: Any, *, output: str | Path, **settings: Any) -> CrossEncoder:
    """Fit a curve from the scores of a re-ranker to probabilities of relevance.

    Args:
        model: The cross-encoder.
        dataset: Documents, queries and judgments.
        scores: The result of ``score`` with this model.
        output: The model folder to write.
        **settings: Settings of ``encloze calibrate``.

    Returns:
        The calibrated cross-encoder, loaded from ``output``.

    Example:
        >>> calibrated = encloze.calibrate("reranker", "my_data", scores, output="calibrated")
    """
    _run("calibrate", model=model, dataset=dataset, scores=scores, output=output, **settings)
    return cast("CrossEncoder", load_reranker(str(output)))


def report(folders: Sequence[str | Path], **settings: Any) -> ReportResult:
    """Write result folders as one HTML page.

    Args:
        folders: Folders that other commands wrote.
        **settings: Settings of ``encloze report``, such as ``output`` and ``title``.

    Example:
        >>> page = encloze.report(["evaluation"], output="page").page
    """
    return cast("ReportResult", _run("report", folders=list(folders), **settings))


def run(recipe: str | Path, **settings: Any) -> PipelineResult:
    """Run a pipeline of commands from a recipe.

    Args:
        recipe: A YAML file, or the name of a shipped recipe, such as ``retromae``.
        **settings: Settings of ``encloze run`` that replace those of the recipe, such as ``dataset`` and ``output``.

    Example:
        >>> result = encloze.run("retromae", dataset="my_data", output="pipeline")
    """
    from encloze import recipe as recipes
    from encloze.errors import RecipeError

    tree = recipes.read(recipe, "run")
    if (command := tree.pop("verb", "run")) != "run":
        raise RecipeError(f"the recipe {recipe}", [("verb", f"is a recipe for {command!r}, not for run")])
    return cast("PipelineResult", _run("run", **{**tree, **settings}))


def rerun(folder: str | Path, **settings: Any) -> Any:
    """Repeat what made a result folder, from the recipe saved in it.

    Args:
        folder: A folder that a command wrote.
        **settings: Settings of ``encloze rerun``, such as ``output``.

    Returns:
        The result of the command.

    Example:
        >>> encloze.rerun("evaluation", output="evaluation_2")
    """
    return _run("rerun", folder=folder, **settings)


def _run(command: str, **settings: Any) -> Any:
    return Command.member(command)(**settings).run()


def _run_cached(command: str, output: Any, settings: dict[str, Any]) -> Any:
    """Run a command with a folder in the cache as output if none is given; the same settings use the same folder."""
    if output is None:
        folder = cache_folder() / command
        prepared = Command.member(command)(**{**settings, "output": folder})
        folder.mkdir(exist_ok=True)
        output = folder / hash_of(prepared)[:32]
        settings = {**settings, "overwrite": True}
    return _run(command, output=output, **settings)
