"""Verdict on a training run, for terminal, model card and report: whether the model learned, and what to do next."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from encloze.reporting.training_logs import LOG, MONITORS, Curves, read_curves
from encloze.storage.json_files import read_json

EFFECT_FILE = "effect.json"
"""File in the folder of a fine-tuned model or a student that contains the comparison with its initial model or its
teacher."""
_SATURATED = 0.95  # in-batch accuracy above which in-batch negatives hardly teach anything
_GOOD_STUDENT = 0.95  # share of the teacher's effectiveness
_IN_BATCH, _TOP1 = "in_batch_accuracy", "top1_accuracy"


class Verdict(NamedTuple):
    """Verdict on a training run."""

    result: str
    """Sentence on what the model learned."""
    advice: str
    """Sentence on what to do next."""
    has_learned: bool | None
    """Whether the result improves on the initial model; None if this was not measured."""

    def __str__(self) -> str:
        return f"{self.result} {self.advice}"


def training_verdict(folder: Path, command: str) -> Verdict | None:
    """Return the verdict on a training run from the logs in its model folder.

    Args:
        folder: Model folder, which contains the logs of its training run.
        command: The command that wrote the folder: ``pretrain``, ``finetune``, ``finetune_reranker``,
            ``finetune_classifier`` or ``distill``.

    Returns:
        The verdict; None for other commands, and if nothing was logged.
    """
    logged, monitored = read_curves(folder / LOG), read_curves(folder / MONITORS)
    if command == "pretrain" and logged:
        return _pretraining(folder, logged, monitored)
    if command == "finetune" and (folder / EFFECT_FILE).is_file():
        return _finetuning(read_json(folder / EFFECT_FILE), logged)
    if command == "distill":
        has_effect = (folder / EFFECT_FILE).is_file()
        return _distillation(read_json(folder / EFFECT_FILE)) if has_effect else None
    if command == "finetune_classifier":
        return _classification(folder)
    if command in ("finetune", "finetune_reranker"):
        return _training_accuracy(logged, _IN_BATCH if command == "finetune" else _TOP1)
    return None


def _pretraining(folder: Path, logged: Curves, monitored: Curves) -> Verdict:
    """Return the verdict on a pre-training run from its held-out losses, and whether its decoders use the embedding."""
    held_out = {
        name.removeprefix("held_out."): values
        for name, (_, values) in monitored.items()
        if name.startswith("held_out.") and not name.endswith("perplexity")
    }
    curves = held_out or {name: values for name, (_, values) in logged.items() if not name.endswith("accuracy")}
    term = "encoder" if "encoder" in curves else next(iter(curves))
    first, last = curves[term][0], curves[term][-1]
    if len(curves[term]) < 2:
        result = f"The loss {term!r} was logged only once ({last:.3f}), which does not show whether the model learns."
        return Verdict(result, "Use more steps.", None)
    has_learned = last < first
    kind = "held-out loss" if held_out else "training loss"
    change = f"{'fell' if has_learned else 'did not fall'} ({first:.3f} at the start, {last:.3f} at the end"
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    chance = config.get("vocab_size") if term in ("encoder", "decoder") else None
    result = f"The {kind} {term!r} {change}{f'; {math.log(chance):.3f} by chance' if chance else ''})"
    unused = []
    for name, (_, lows) in monitored.items():
        if name.startswith("bottleneck.") and name.endswith("_gap_low"):
            decoder = name.removeprefix("bottleneck.").removesuffix("_gap_low")
            interval = f"[{lows[-1]:.4f}, {monitored[f'bottleneck.{decoder}_gap_high'][1][-1]:.4f}]"
            used = lows[-1] > 0
            unused += [] if used else [decoder]
            result += f"; {decoder!r} {'uses' if used else 'does not use'} the embedding (99 % interval {interval})"
    if not has_learned:
        advice = "Use more steps or another learning rate: --training.steps, --training.learning_rate."
    elif unused:
        advice = "Train longer before you fine-tune the model: the embedding learns only from decoders that use it."
    else:
        advice = "Fine-tune the model, and compare it with a fine-tuned model without this pre-training."
    return Verdict(f"{result}.", advice, has_learned and not unused)


def _finetuning(effect: dict[str, Any], logged: Curves) -> Verdict:
    """Return the verdict on a fine-tuned model that was compared with its initial model."""
    means, kept, measure = effect["means"], effect["kept"], effect["measure"]
    change = effect["differences"]["finetuned"]
    figures = f"{measure} on {effect['split']} {means['finetuned']:.4f}, initial model {means['initial']:.4f}"
    result = f"Fine-tuning {_effect_of(change)} ({figures}, {_figures_of(change)})"
    for name in (name for name in means if name.startswith("merged")):
        weight = name.removeprefix("merged ")
        result += f"; merged with weight {weight}: {means[name]:.4f}, {_figures_of(effect['differences'][name])}"
    if kept == "initial":
        result += ". The initial model was kept"
    elif kept != "finetuned":
        result += f". The model that was merged with weight {kept.removeprefix('merged ')} was kept"
    result += "."
    helped = kept != "initial" and effect["differences"][kept]["low"] > 0
    if helped:
        return Verdict(result, "Evaluate the model on the whole collection and index it.", True)
    accuracy = logged.get(_IN_BATCH, ([], [0.0]))[1][-1]
    if accuracy > _SATURATED:
        cause = f"{accuracy:.1%} of the training queries already rank their document first in the batch"
        return Verdict(result, f"{cause}, so mine hard negatives (encloze mine) and set --negatives.", False)
    alternative = "" if kept == "initial" else ", or keep the initial model"
    advice = f"Mine hard negatives (encloze mine) and set --negatives, or train longer{alternative}."
    return Verdict(result, advice, False)


def _distillation(effect: dict[str, Any]) -> Verdict:
    """Return the verdict on a student that was compared with its teacher."""
    means, measure = effect["means"], effect["measure"]
    share = means["student"] / means["teacher"] if means["teacher"] else 0.0
    result = (
        f"The student has {share:.1%} of the teacher's {measure} on {effect['split']} ({means['student']:.4f}, teacher "
        f"{means['teacher']:.4f}, {_figures_of(effect['difference'])})."
    )
    is_good = share >= _GOOD_STUDENT
    advice = "Evaluate it on the whole collection, or export it (encloze export)."
    longer = "Train longer (--training.epochs), on more texts, or with more --layers."
    return Verdict(result, advice if is_good else longer, is_good)


def _effect_of(change: dict[str, float]) -> str:
    """Return in words whether a model is better than the initial one."""
    if change["low"] > 0:
        return "improved retrieval"
    return "made retrieval worse" if change["high"] < 0 else "made no significant difference"


def _figures_of(change: dict[str, float]) -> str:
    """Return a difference with its interval and, if it is not significant, the smallest detectable difference."""
    text = f"difference {change['mean']:+.4f}, 95 % interval {change['low']:+.4f} to {change['high']:+.4f}"
    detectable = change["minimum_detectable"]
    is_clear = change["low"] > 0 or change["high"] < 0
    return text if is_clear or not detectable else f"{text}; {detectable:.4f} or more would be detected"


def _classification(folder: Path) -> Verdict | None:
    """Return the verdict on a classifier from its report on the first evaluated split; None if there is no report."""
    files = sorted(folder.glob("report-*.json"))
    if not files:
        return None
    report = read_json(files[0])
    *baselines, own = report["systems"]
    measure, value = next(iter(own["measures"].items()))
    best = max(baselines, key=lambda system: float(system["measures"][measure]["mean"]))
    reference = best["measures"][measure]
    has_learned = value["low"] > reference["high"]
    comparison = "is" if has_learned else "is not clearly"
    own_value, baseline = (f"{v['mean']:.4f} [{v['low']:.4f}, {v['high']:.4f}]" for v in (value, reference))
    result = (
        f"The classifier {comparison} better than the baseline {best['name']} ({measure} on {report['split']} with 95 %"
        f" intervals: {own_value}, baseline {baseline})."
    )
    advice = "Train longer, with another learning rate, or with more labeled texts."
    return Verdict(result, "Look at the scores by label before you use it." if has_learned else advice, has_learned)


def _training_accuracy(logged: Curves, name: str) -> Verdict | None:
    """Return the verdict on a training run without a comparison of models, from the accuracy on its batches."""
    if name not in logged:
        return None
    first, last = logged[name][1][0], logged[name][1][-1]
    candidates = "the documents of the batch" if name == _IN_BATCH else "the candidates of the query"
    result = (
        f"The relevant document was ranked first among {candidates} for {last:.1%} of the training queries at the end "
        f"of the training, and for {first:.1%} at the start."
    )
    advice = "Whether retrieval improved is unknown: evaluate the model and its initial model on other queries."
    return Verdict(result, advice, None)
