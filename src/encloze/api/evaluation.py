"""Functions of the commands that build indexes, evaluate, inspect and report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from encloze.api._commands import run_command

if TYPE_CHECKING:
    from encloze.commands.base import CompressionResult
    from encloze.commands.encode import EncodingResult
    from encloze.commands.index import IndexingResult
    from encloze.commands.reindex import ReindexResult
    from encloze.commands.report import ReportResult
    from encloze.evaluation.answers import AnswerReport
    from encloze.evaluation.comparison import ComparisonTable
    from encloze.evaluation.gate import GateResult
    from encloze.evaluation.inspection import Inspection
    from encloze.evaluation.labels import LabelReport
    from encloze.evaluation.report import Report
    from encloze.evaluation.robustness import RobustnessReport
    from encloze.retrieval.collection_plan import CollectionPlan


def index(corpus: Any, model: Any = None, *, output: str | Path, **settings: Any) -> IndexingResult:
    """Build the indexes of a corpus and write them to a folder.

    ``Retriever.build`` does the same, and returns a retriever that searches the indexes.

    Args:
        corpus: The documents.
        model: The encoder; None if no index needs an encoder, as with ``bm25`` alone.
        output: The index folder to write.
        **settings: Settings of ``encloze index``, such as ``indexes=["flat", "bm25"]``.

    Example:
        >>> encloze.index("my_texts", "minilm", output="index", indexes=["flat", "bm25"])
    """
    return cast("IndexingResult", run_command("index", corpus=corpus, model=model, output=output, **settings))


def evaluate(systems: Sequence[Any], dataset: Any = None, *, split: str = "test", **settings: Any) -> Report:
    """Evaluate systems on judged queries, with confidence intervals and significance tests.

    Args:
        systems: What to evaluate, the baseline first: ``bm25``, encoders or their names, retrievers, run files.
        dataset: Documents, queries and judgments; None if the setting ``benchmark`` is given.
        split: The split whose queries are evaluated.
        **settings: Settings of ``encloze evaluate``, such as ``measures=["nDCG@10"]`` and ``output``.

    Returns:
        The report; ``to_pandas()`` returns a data frame, and notebooks show the report as a table.

    Example:
        >>> encloze.evaluate(["bm25", "minilm", "retriever"], "my_data", split="test").to_pandas()
    """
    return cast("Report", run_command("evaluate", systems=systems, dataset=dataset, split=split, **settings))


def compare(systems: Sequence[Any], dataset: Sequence[Any] | Any = (), **settings: Any) -> ComparisonTable:
    """Compare systems on one or more data sets, with significance and equivalence tests.

    The result also counts evaluation texts that are near-duplicates of training texts.

    Args:
        systems: What to compare, the baseline first; see ``evaluate``.
        dataset: A data set, or a list of them.
        **settings: Settings of ``encloze compare``.

    Example:
        >>> encloze.compare(["bm25", "minilm"], ["my_data", "other_data"]).to_pandas()
    """
    dataset = [dataset] if isinstance(dataset, (str, Path)) else dataset
    return cast("ComparisonTable", run_command("compare", systems=systems, dataset=dataset, **settings))


def robustness(systems: Sequence[Any], dataset: Any = None, **settings: Any) -> RobustnessReport:
    """Measure how much retrieval quality drops if queries or documents are perturbed, for example by typos.

    Args:
        systems: What to evaluate; see ``evaluate``.
        dataset: Documents, queries and judgments.
        **settings: Settings of ``encloze robustness``, such as ``query_perturbations=["typos"]``.

    Example:
        >>> card = encloze.robustness(["bm25", "minilm"], "my_data", query_perturbations=["typos", "word_order"])
    """
    return cast("RobustnessReport", run_command("robustness", systems=systems, dataset=dataset, **settings))


def inspect(corpus: Any, model: Any = (), **settings: Any) -> Inspection:
    """Compute statistics of a corpus (lengths, duplicates, truncation) and, for each encoder, metrics of embeddings.

    Args:
        corpus: The documents.
        model: Encoders to compare, or their names.
        **settings: Settings of ``encloze inspect``.

    Example:
        >>> inspection = encloze.inspect("my_texts", ["minilm", "adapted"])
    """
    return cast("Inspection", run_command("inspect", corpus=corpus, model=model, **settings))


def probe(model: Any, dataset: Any, **settings: Any) -> LabelReport:
    """Train and evaluate a linear classifier on the embeddings of an encoder. The encoder itself is not trained.

    Args:
        model: The encoder.
        dataset: A folder with ``train`` and ``test`` files of labeled texts.
        **settings: Settings of ``encloze probe``.

    Example:
        >>> report = encloze.probe("adapted", "my_labels")
    """
    return cast("LabelReport", run_command("probe", model=model, dataset=dataset, **settings))


def report(folders: Sequence[str | Path], **settings: Any) -> ReportResult:
    """Write one HTML page with the results in the given folders.

    Args:
        folders: Output folders of other commands, such as ``evaluate``.
        **settings: Settings of ``encloze report``, such as ``output`` and ``title``.

    Example:
        >>> page = encloze.report(["evaluation"], output="page").page
    """
    return cast("ReportResult", run_command("report", folders=folders, **settings))


def gate(result: str | Path, baseline: str | Path, **settings: Any) -> GateResult:
    """Compare an evaluation with a stored baseline on the same queries.

    Args:
        result: Folder of the new evaluation, which ``evaluate`` wrote.
        baseline: Folder of the stored evaluation.
        **settings: Settings of ``encloze gate``, such as ``margin=0.005``.

    Returns:
        The differences; ``has_failed`` is true if the result is worse by more than the margin and significantly.

    Example:
        >>> encloze.gate("new_report", "stored_report").has_failed
    """
    return cast("GateResult", run_command("gate", result=result, baseline=baseline, **settings))


def encode(model: Any, corpus: Any = None, *, output: str | Path, **settings: Any) -> EncodingResult:
    """Write the embeddings or term weights of documents or queries to a file for other programs.

    Args:
        model: The encoder.
        corpus: Documents; for queries, set ``dataset`` and ``split`` instead.
        output: The folder to write.
        **settings: Settings of ``encloze encode``, such as ``format``.

    Example:
        >>> encloze.encode("minilm", "my_texts", output="vectors", format="npy").file
    """
    given = {} if corpus is None else {"corpus": corpus}
    return cast("EncodingResult", run_command("encode", model=model, output=output, **given, **settings))


def compress(model: Any, dataset: Any, *, output: str | Path, **settings: Any) -> CompressionResult:
    """Measure smaller and faster variants of a retriever, and recommend one.

    Args:
        model: The encoder.
        dataset: Data set with judged queries and documents.
        output: The folder to write.
        **settings: Settings of ``encloze compress``, such as ``students``, ``budget`` and ``prefer``.

    Returns:
        Quality and costs of all configurations, and the recommended one.

    Example:
        >>> result = encloze.compress("retriever", "my_data", output="smaller", budget={"milliseconds": 3})
        >>> print(result.report.reason)
    """
    return cast("CompressionResult", run_command("compress", model=model, dataset=dataset, output=output, **settings))


def plan(corpus: Any, documents: Sequence[int], *, model: Any = None, **settings: Any) -> CollectionPlan:
    """Measure a model for a minute, and predict what larger collections cost.

    Args:
        corpus: Documents like those of the collection.
        documents: Numbers of documents for which costs are predicted.
        model: The encoder; None for BM25 only.
        **settings: Settings of ``encloze plan``, such as ``queries_per_second``, ``memory`` and ``seconds``.

    Returns:
        Time of encoding, size, memory and latency of each index, and the recommended index, for each number.

    Example:
        >>> plan = encloze.plan("my_texts", [100_000, 1_000_000], model="minilm", cost_per_hour=1.5)
        >>> plan.costs[1].encoding_seconds.value, plan.costs[1].recommended
    """
    return cast("CollectionPlan", run_command("plan", corpus=corpus, documents=documents, model=model, **settings))


def threshold(index: str | Path, dataset: Any, **settings: Any) -> AnswerReport:
    """Choose the scores below which an index reports that it has no answer.

    Args:
        index: The index folder, in which the threshold is stored.
        dataset: Data set with judged queries over its documents.
        **settings: Settings of ``encloze threshold``, such as ``split`` and ``false_answer_rate``.

    Returns:
        The rates of both errors, measured on queries that were not used for fitting.

    Example:
        >>> encloze.threshold("index", "my_data", false_answer_rate=0.05).missed_answers.mean
    """
    return cast("AnswerReport", run_command("threshold", index=index, dataset=dataset, **settings))


def reindex(index: str | Path, model: Any = None, **settings: Any) -> ReindexResult:
    """Change the model of an index while it is in use.

    Args:
        index: The index folder.
        model: The new model, for the step ``build``.
        **settings: Settings of ``encloze reindex``, such as ``dataset`` and ``step="cut_over"``.

    Example:
        >>> encloze.reindex("index", "new_model", dataset="my_data").agreement
        >>> encloze.reindex("index", step="cut_over")
    """
    return cast("ReindexResult", run_command("reindex", index=index, model=model, **settings))
