"""Model cards: the evaluation results in the README.md of a model folder, for readers and for the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import yaml

from encloze.errors import DataError
from encloze.escapes import markdown
from encloze.evaluation.comparison import ComparisonTable, short_names
from encloze.intervals import Interval
from encloze.reporting.result_folders import ResultFolder, model_folders
from encloze.storage.hashes import hash_of
from encloze.storage.json_shapes import shape_fault
from encloze.storage.names import MANIFEST, README
from encloze.tables import Column, Kind, Table
from encloze.yaml_text import YamlTextError, parse_yaml

_BEGIN, _END = "<!-- encloze: {} -->", "<!-- encloze: end -->"
_HUB_NAMES = {"rr": "mrr", "r": "recall", "p": "precision", "ap": "map"}
"""Names of measures in the hub's metadata and in the cards of sentence-transformers and MTEB."""


class _Result(TypedDict):
    dataset: NotRequired[dict[str, Any] | None]


class _Model(TypedDict):
    name: NotRequired[str]
    results: list[_Result]


class EvaluationFigures(NamedTuple):
    """Evaluation results, on one split of a data set, of a system that uses the model in ``folder``."""

    folder: Path
    system: str
    """Name of the evaluated system that uses the model."""
    dataset: str
    """Name of the data set."""
    identity: str
    """Hash of the data set, which distinguishes data sets of the same name."""
    split: str
    measures: dict[str, float]
    """Value of each measure, averaged over the queries, keyed by the name of the measure."""
    interval: Interval | None
    """Mean of the first measure and its confidence interval. None if the system is one of several training seeds."""
    verdict: str
    """Whether the system is better or worse than the first system of the comparison; empty for the first system."""

    @property
    def section(self) -> tuple[str, str]:
        """Title and key of the model card section with these results. A section that has this key is replaced."""
        return f"Evaluation on {self.dataset}, {self.split}", f"evaluation {self.identity} {self.split}"


class RobustnessFigures(NamedTuple):
    """Drop of a measure under one perturbation of queries or documents, for a system with the model in ``folder``."""

    folder: Path
    system: str
    dataset: str
    identity: str
    split: str
    measure: str
    perturbation: str
    clean: float
    perturbed: float
    drop: Interval

    @property
    def section(self) -> tuple[str, str]:
        """Title and key of the model card section with these results. A section that has this key is replaced."""
        return f"Robustness on {self.dataset}, {self.split}", f"robustness {self.identity} {self.split}"


ModelFigures = EvaluationFigures | RobustnessFigures


def evaluation_figures(result: ResultFolder, comparison: ComparisonTable) -> Iterator[EvaluationFigures]:
    """Yield the results of evaluated systems: one item for each model folder of a system, data set and training seed.

    Args:
        result: The folder of the comparison or evaluation.
        comparison: The results in the folder; those of an evaluation are converted to a comparison.
    """
    settings = _system_settings(result) if result.command in ("evaluate", "compare") else []
    for system, compared in zip(settings, comparison.systems, strict=bool(settings)):
        parts = zip(compared.members, _parts(system), strict=True)
        margin = comparison.equivalence_margin
        verdicts = {one.dataset: one.verdict(margin) for one in comparison.contrasts if one.system == compared.name}
        datasets = enumerate(zip(comparison.names, comparison.reports, strict=True))
        for (member, part), (number, (name, report)) in product(parts, datasets):
            (measured,) = (one for one in report.systems if one.name == member)
            for folder in _card_folders(result, part):
                yield EvaluationFigures(
                    folder=folder,
                    system=member,
                    dataset=name,
                    identity=_identity(result, f"dataset[{number}]" if result.command == "compare" else "dataset"),
                    split=report.split,
                    measures={measure: float(measured.values[measure].mean()) for measure in report.measures},
                    interval=comparison.means[compared.name][number] if member == compared.name else None,
                    verdict=f"{verdicts[name]} (against {comparison.systems[0].name})" if name in verdicts else "",
                )


def robustness_figures(result: ResultFolder, report: dict[str, Any]) -> Iterator[RobustnessFigures]:
    """Yield how much the measure of a robustness report drops: one item for each model folder and each perturbation.

    Args:
        result: The folder of the robustness report.
        report: Content of ``robustness.json``.
    """
    names = list(dict.fromkeys(drop["system"] for drop in report["drops"]))
    (dataset,) = short_names([report["dataset"]])
    for name, system in zip(names, result.tree["systems"], strict=True):
        for folder in _card_folders(result, system):
            for drop in (one for one in report["drops"] if one["system"] == name):
                yield RobustnessFigures(
                    folder=folder,
                    system=name,
                    dataset=dataset,
                    identity=_identity(result, "dataset"),
                    split=report["split"],
                    measure=report["measure"],
                    perturbation=drop["perturbation"],
                    clean=drop["clean"],
                    perturbed=drop["perturbed"],
                    drop=Interval.from_dict(drop["drop"]),
                )


def _system_settings(result: ResultFolder) -> list[dict[str, Any]]:
    """Return the settings of each system that the command of a result folder evaluated or compared."""
    tree = result.tree
    named = [{"type": kind, kind: tree[kind]} for kind in ("model", "index") if tree.get(kind)]
    systems = [*(tree.get("systems") or []), *named]
    if result.command != "compare":  # an evaluation lists seeds separately, and repeats all systems with a re-ranker
        systems = [part for system in systems for part in _parts(system)]
    if tree.get("reranker"):
        systems += [{"type": "reranked", "system": system, "reranker": tree["reranker"]} for system in systems]
    return systems


def _identity(result: ResultFolder, setting: str) -> str:
    """Return the first 8 characters of the hash of a data set's content."""
    entry = result.inputs[setting]
    return str(entry.get("sha256") or hash_of(entry))[:8]


def _parts(system: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of each system in a group of training seeds; for any other system, its own in a list."""
    if system["type"] != "seeds":
        return [system]
    return [part for one in system["systems"] for part in _parts(one)]


def _card_folders(result: ResultFolder, system: dict[str, Any]) -> list[Path]:
    """Return the model folders that a system uses, if encloze wrote them and they contain a README.md."""
    folders = dict.fromkeys(folder.resolve() for folder in model_folders(result, system))
    return [folder for folder in folders if (folder / MANIFEST).is_file() and (folder / README).is_file()]


def write_cards(figures: Sequence[ModelFigures]) -> list[Path]:
    """Write evaluation results to the README.md of model folders. Earlier results on the same data sets are replaced.

    Args:
        figures: The results of all model folders.

    Returns:
        The model folders whose README.md was written.

    Raises:
        DataError: The YAML header of a card is invalid.
    """
    by_folder: dict[Path, list[ModelFigures]] = {}
    for one in figures:
        by_folder.setdefault(one.folder, []).append(one)
    for folder, of_folder in by_folder.items():
        card = (folder / README).read_text(encoding="utf-8")
        partial = folder / f".{README}"
        try:
            partial.write_text(add_figures(card, folder.name, of_folder), encoding="utf-8")
        except DataError as error:
            raise DataError(
                f"{folder / README}: {error}. Correct or remove the header, and write the report again"
            ) from error
        partial.replace(folder / README)
    return list(by_folder)


def add_figures(card: str, name: str, figures: Sequence[ModelFigures]) -> str:
    """Return a model card with a table of results for each data set, and with hub metadata in its YAML header.

    Args:
        card: Content of README.md. Earlier tables on the same data sets are replaced; all other text is kept.
        name: Name of the model.
        figures: Results of the model.

    Raises:
        DataError: The YAML header of the card is invalid.
    """
    sections: dict[tuple[str, str], list[ModelFigures]] = {}
    for one in figures:
        sections.setdefault(one.section, []).append(one)
    for _, key in sections:
        earlier = rf"\n*{re.escape(_BEGIN.format(key))}.*?{re.escape(_END)}\n*"
        card = re.sub(earlier, "\n", card, flags=re.DOTALL)
    header, body = split_header(card)
    if evaluated := [one for one in figures if isinstance(one, EvaluationFigures)]:
        models = header.get("model-index") or []
        if fault := shape_fault(models, list[_Model], "model-index"):
            raise DataError(f"the header between --- is malformed: {fault}")
        others = [model for model in models if model.get("name") != name]
        replaced = {(one.identity, one.split) for one in evaluated}
        kept = [
            one
            for model in models
            if model.get("name") == name
            for one in model["results"]
            if _key(one) not in replaced
        ]
        header["model-index"] = [*others, {"name": name, "results": [*kept, *map(_hub_result, evaluated)]}]
    front = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    lines = [line for section, of_section in sections.items() for line in _section_lines(*section, of_section)]
    return "\n".join([f"---\n{front}---\n{body.rstrip()}", *lines]) + "\n"


def _section_lines(title: str, key: str, figures: Sequence[ModelFigures]) -> list[str]:
    robustness = [one for one in figures if isinstance(one, RobustnessFigures)]
    evaluated = [one for one in figures if isinstance(one, EvaluationFigures)]
    table = _robustness_table(title, robustness) if robustness else _evaluation_table(title, evaluated)
    return ["", _BEGIN.format(key), f"## {markdown(title)}", "", table.to_markdown(), _END]


def _evaluation_table(title: str, figures: Sequence[EvaluationFigures]) -> Table:
    measures = list(dict.fromkeys(measure for one in figures for measure in one.measures))
    columns = (Column("system"), *(Column(name, Kind.MEASURE) for name in measures), Column("verdict"))
    rows = []
    for one in figures:
        values: list[Interval | float | None] = [one.measures.get(measure) for measure in measures]
        if one.interval is not None:
            values[0] = one.interval
        rows.append((one.system, *values, one.verdict))
    return Table(title, columns, tuple(rows))


def _robustness_table(title: str, figures: Sequence[RobustnessFigures]) -> Table:
    columns = (
        Column("system"),
        Column("measure"),
        Column("perturbation"),
        Column("clean", Kind.MEASURE),
        Column("perturbed", Kind.MEASURE),
        Column("drop", Kind.DIFFERENCE),
    )
    return Table(
        title,
        columns,
        tuple((one.system, one.measure, one.perturbation, one.clean, one.perturbed, one.drop) for one in figures),
    )


def _key(result: dict[str, Any]) -> tuple[str, str]:
    """Return the key of a result in a model card's YAML header: the hash of its data set, and the split."""
    dataset = result.get("dataset") or {}
    return str(dataset.get("config")), str(dataset.get("split"))


def split_header(card: str) -> tuple[dict[str, Any], str]:
    """Return the YAML header of a model card, and the text after the header."""
    match = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    try:
        header = parse_yaml(match[1]) if match else None
    except YamlTextError as error:
        raise DataError(f"the header between --- is not valid YAML: {f'{error.where} {error}'.strip()}") from error
    return (header, card[match.end() :]) if match and isinstance(header, dict) else ({}, f"\n{card}")


def _hub_result(figures: EvaluationFigures) -> dict[str, Any]:
    """Return evaluation results in the format of https://huggingface.co/docs/hub/model-cards#evaluation-results."""
    return {
        "task": {"type": "text-retrieval"},
        "dataset": {
            "type": figures.dataset,
            "name": figures.dataset,
            "config": figures.identity,
            "split": figures.split,
        },
        "metrics": [
            {"type": _hub_name(measure), "name": f"{measure}, {figures.system}", "value": round(value, 5)}
            for measure, value in figures.measures.items()
        ],
    }


def _hub_name(measure: str) -> str:
    """Return the name of a measure in the hub's metadata, such as ``ndcg_at_10`` for nDCG@10."""
    kind, _, depth = measure.lower().partition("@")
    return _HUB_NAMES.get(kind, kind) + (f"_at_{depth}" if depth else "")
