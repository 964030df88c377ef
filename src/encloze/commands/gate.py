"""Compare a result with a stored baseline, and fail if it is significantly worse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from encloze.commands.base import Command
from encloze.evaluation.gate import GateResult, compare_with_baseline
from encloze.evaluation.measures import canonical_name
from encloze.evaluation.report import Report


@dataclass(frozen=True)
class Gate(Command, name="gate"):
    """Compare a result with a stored baseline. If it is worse by more than a margin and significantly, exit with 1.

    Both are folders that the command evaluate wrote for the same split of a data set. In continuous integration, keep
    the folder of the baseline, evaluate each change, and let this command decide.

    Example:
        >>> Gate(result="new_report", baseline="stored_report", margin=0.005).run().has_failed
        False
    """

    positional_settings: ClassVar[tuple[str, ...]] = ("result",)

    result: Path
    """Folder of the new evaluation, written by the command evaluate."""
    baseline: Path
    """Folder of the stored evaluation on the same queries. Each of its systems must be in the result, too; if both have
    only one system, the names may differ."""
    measures: tuple[str, ...] = ()
    """Measures to compare; by default the first one of the baseline."""
    margin: float = 0.01
    """Largest mean loss that is accepted even if it is significant, 0 or more."""
    level: float = 0.05
    """Significance level of the paired randomization tests, after Holm's correction for all systems and measures."""

    def __post_init__(self) -> None:
        for name in self.measures:
            canonical_name(name)
        if self.margin < 0:
            raise ValueError(f"margin must be 0 or more, not {self.margin:g}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must be above 0 and below 1, not {self.level:g}")

    def run(self) -> GateResult:
        result, baseline = Report.load(self.result), Report.load(self.baseline)
        return compare_with_baseline(result, baseline, self.measures, self.margin, self.level)
