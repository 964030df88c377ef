"""Functions of the commands that train models and prepare training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from encloze.api._commands import run_cached, run_command
from encloze.encoders.base import Encoder, load_reranker

if TYPE_CHECKING:
    from encloze.commands.base import (
        ClassifierTrainingResult,
        ExportResult,
        GenerationResult,
        MiningResult,
        ScoringResult,
    )
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
        RecipeError: A setting is invalid.
        StorageError: The output exists.

    Example:
        >>> encoder = encloze.pretrain("minilm", "my_texts", output="adapted", training={"steps": 1000})
    """
    run_command("pretrain", model=model, corpus=corpus, objective=objective, output=output, **settings)
    return Encoder.from_pretrained(output)


def finetune(model: Encoder | str | Path, dataset: Any, *, output: str | Path, **settings: Any) -> Encoder:
    """Fine-tune a bi-encoder on queries with relevant documents.

    Args:
        model: The encoder to start from.
        dataset: Documents, queries and judgments; see ``Dataset.load``.
        output: The model folder to write.
        **settings: Settings of ``encloze finetune``, such as ``losses=["contrastive"]``, ``negatives`` (the result of
            ``mine``, or a TREC run file) and ``training={"epochs": 3}``.

    Returns:
        The trained encoder, loaded from ``output``.

    Raises:
        RecipeError: A setting is invalid.
        StorageError: The output exists.

    Example:
        >>> encoder = encloze.finetune("minilm", "my_data", output="retriever", training={"epochs": 3})
    """
    run_command("finetune", model=model, dataset=dataset, output=output, **settings)
    return Encoder.from_pretrained(output)


def finetune_reranker(
    model: str | Path | CrossEncoder, dataset: Any, *, negatives: Any, output: str | Path, **settings: Any
) -> CrossEncoder:
    """Fine-tune a cross-encoder that scores pairs of a query and a document.

    Args:
        model: The encoder or cross-encoder to start from.
        dataset: Documents, queries and judgments.
        negatives: The result of ``mine``, or a TREC run file.
        output: The model folder to write.
        **settings: Settings of ``encloze finetune_reranker``.

    Returns:
        The trained cross-encoder, loaded from ``output``.

    Example:
        >>> negatives = encloze.mine("my_data")
        >>> reranker = encloze.finetune_reranker("minilm", "my_data", negatives=negatives, output="reranker")
    """
    run_command("finetune_reranker", model=model, dataset=dataset, negatives=negatives, output=output, **settings)
    return cast("CrossEncoder", load_reranker(str(output)))


def finetune_classifier(
    model: str | Path | Encoder, dataset: Any, *, output: str | Path, **settings: Any
) -> ClassifierTrainingResult:
    """Fine-tune and evaluate a classifier of whole texts or of the words in texts.

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
        run_command("finetune_classifier", model=model, dataset=dataset, output=output, **settings),
    )


def mine(
    dataset: Any, *, split: str = "train", sources: Sequence[Any] = ("bm25",), output: Any = None, **settings: Any
) -> MiningResult:
    """Mine hard negatives: highly ranked documents that are not relevant to the query.

    Args:
        dataset: Documents, queries and judgments.
        split: The split of the queries for which negatives are mined.
        sources: Systems that rank candidates: ``bm25``, encoders, retrievers or run files. The rankings of several
            systems are interleaved.
        output: The folder to write; by default a folder in the cache.
        **settings: Settings of ``encloze mine``, such as ``num_negatives``, ``range_min`` and ``relative_margin``.

    Returns:
        Numbers of queries and negatives, and the ``folder`` with the run file. Pass the result to ``finetune`` or
        ``finetune_reranker`` as ``negatives``.

    Example:
        >>> negatives = encloze.mine("my_data", sources=["bm25", "minilm"], num_negatives=7)
    """
    values = {"dataset": dataset, "split": split, "sources": sources, **settings}
    return cast("MiningResult", run_cached("mine", output, values))


def score(dataset: Any, model: Any, candidates: Any, *, output: Any = None, **settings: Any) -> ScoringResult:
    """Score pairs of a query and a candidate document with a teacher model, for distillation.

    Args:
        dataset: Documents, queries and judgments.
        model: A cross-encoder or bi-encoder.
        candidates: The documents to score: the result of ``mine``, or a TREC run file.
        output: The folder to write; by default a folder in the cache.
        **settings: Settings of ``encloze score``.

    Returns:
        Numbers of queries and pairs, and the ``folder`` with the run file of scores. Pass the result to ``finetune``
        as ``teacher``.

    Example:
        >>> negatives = encloze.mine("my_data")
        >>> teacher = encloze.score("my_data", "reranker", negatives)
    """
    values = {"dataset": dataset, "model": model, "candidates": candidates, **settings}
    return cast("ScoringResult", run_cached("score", output, values))


def generate(corpus: Any, generator: Any, *, output: str | Path, **settings: Any) -> GenerationResult:
    """Generate queries for documents with a language model.

    Args:
        corpus: The documents.
        generator: A model folder or hub id, or ``{"type": "endpoint", "url": ..., "model": ...}``.
        output: The folder to write the generated queries and judgments to.
        **settings: Settings of ``encloze generate``.

    Example:
        >>> encloze.generate("my_texts", "google/flan-t5-small", output="generated")
    """
    values = {"corpus": corpus, "generator": generator, "output": output, **settings}
    return cast("GenerationResult", run_command("generate", **values))


def distill(teacher: Encoder | str | Path, corpus: Any, *, output: str | Path, **settings: Any) -> Encoder:
    """Train a smaller encoder, the student, to compute the vectors of a larger one, the teacher.

    Args:
        teacher: The encoder whose vectors are learned.
        corpus: The texts to train on; see ``Corpus.load``. Queries of a data set are trained on, too.
        output: The model folder to write.
        **settings: Settings of ``encloze distill``, such as ``layers`` or ``student``.

    Returns:
        The student, loaded from ``output``.

    Raises:
        RecipeError: A setting is invalid.
        StorageError: The output exists.

    Example:
        >>> student = encloze.distill("retriever", "my_data", output="student")
    """
    run_command("distill", teacher=teacher, corpus=corpus, output=output, **settings)
    return Encoder.from_pretrained(output)


def prune_vocabulary(model: Encoder | str | Path, corpus: Any, *, output: str | Path, **settings: Any) -> Encoder:
    """Remove the tokens that a corpus does not contain from an encoder. Vectors of its texts stay the same.

    Args:
        model: The encoder.
        corpus: The texts whose tokens are kept; see ``Corpus.load``.
        output: The model folder to write.
        **settings: Settings of ``encloze prune_vocabulary``, such as ``min_tokens``.

    Returns:
        The smaller encoder, loaded from ``output``.

    Raises:
        CheckpointError: The model is no encoder, or its vocabulary cannot be pruned.

    Example:
        >>> pruned = encloze.prune_vocabulary("minilm", "my_data", output="pruned")
    """
    run_command("prune_vocabulary", model=model, corpus=corpus, output=output, **settings)
    return Encoder.from_pretrained(output)


def merge(model: Any, original: Any, *, output: str | Path, **settings: Any) -> Encoder:
    """Interpolate between the weights of an adapted encoder and those of the encoder it was trained from.

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
    run_command("merge", model=model, original=original, output=output, **settings)
    return Encoder.from_pretrained(output)


def export(model: Any, *, output: str | Path, **settings: Any) -> ExportResult:
    """Export an encoder or a re-ranker to a format of other programs, and compare both.

    Args:
        model: The encoder or re-ranker.
        output: The folder to write.
        **settings: Settings of ``encloze export``, such as ``format`` and ``dataset``.

    Returns:
        The folder, and how its vectors or scores, size and latency differ from those of the model.

    Example:
        >>> encloze.export("retriever", output="exported").report.failures
    """
    return cast("ExportResult", run_command("export", model=model, output=output, **settings))


def calibrate(model: Any, dataset: Any, scores: Any, *, output: str | Path, **settings: Any) -> CrossEncoder:
    """Fit a curve that maps the scores of a re-ranker to probabilities of relevance.

    Args:
        model: The cross-encoder.
        dataset: Documents, queries and judgments.
        scores: The result of ``score`` with this model.
        output: The model folder to write.
        **settings: Settings of ``encloze calibrate``.

    Returns:
        The calibrated cross-encoder, loaded from ``output``.

    Example:
        >>> report = encloze.evaluate(["bm25"], "my_data", split="dev", output="rankings")
        >>> run = "rankings/runs/bm25.trec"
        >>> scores = encloze.score("my_data", "reranker", run, split="dev", include_relevant=False)
        >>> calibrated = encloze.calibrate("reranker", "my_data", scores, output="calibrated")
    """
    run_command("calibrate", model=model, dataset=dataset, scores=scores, output=output, **settings)
    return cast("CrossEncoder", load_reranker(str(output)))
