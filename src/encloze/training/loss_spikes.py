"""Detection of loss spikes: sudden jumps of a loss term during training."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque

from encloze import progress

_WINDOW, _MIN_VALUES = 10, 5  # values whose median is the baseline
_MIN_RATIO, _MIN_INCREASE = 1.25, 0.5  # the latter because a quarter of a small loss is noise


class LossSpikeDetector:
    """Warns if a loss term exceeds the median of its last ten logged values by more than 25 % and by more than 0.5.

    A spike that lasts for several log lines gives one warning.

    Example:
        >>> detector = LossSpikeDetector()
        >>> for step in range(10):
        ...     detector.update("decoder", 2.0, step)
    """

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_WINDOW))
        self._high: set[str] = set()

    def update(self, term: str, value: float, step: int) -> None:
        """Record the mean of a loss term since the previous log line, and warn if this mean is a spike.

        Args:
            term: Name of the loss term.
            value: Mean of the loss term since the previous log line.
            step: Number of completed steps.
        """
        recent = self._recent[term]
        median = statistics.median(recent) if len(recent) >= _MIN_VALUES else float("inf")
        is_high = value > max(_MIN_RATIO * median, median + _MIN_INCREASE)
        if is_high and term not in self._high:
            progress.warn(
                f"the loss {term!r} jumped from about {median:.3f} to {value:.3f} near step {step}. If it does not "
                "decrease again, lower --training.learning_rate or raise --training.warmup_ratio"
            )
        self._high = self._high | {term} if is_high else self._high - {term}
        recent.append(value)
