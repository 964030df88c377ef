"""An alarm for losses that jump."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque

from encloze import progress

_REMEMBERED, _FEWEST, _JUMP, _LEAST = 10, 5, 1.25, 0.5  # of small losses a quarter is noise


class Spikes:
    """Warns when a term of the loss is a quarter above the median of its last ten lines of the log; once a spike."""

    def __init__(self) -> None:
        self.recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        self.high: set[str] = set()

    def see(self, term: str, value: float, step: int) -> None:
        """Look at a term's mean since the last line of the log."""
        recent = self.recent[term]
        usual = statistics.median(recent) if len(recent) >= _FEWEST else float("inf")
        is_high = value > max(_JUMP * usual, usual + _LEAST)
        if is_high and term not in self.high:
            progress.warn(
                f"the loss {term!r} jumped from about {usual:.3f} to {value:.3f} near step {step}. If it does not come "
                "down again, go back to a lower --training.learning_rate or a longer --training.warmup_share"
            )
        self.high = self.high | {term} if is_high else self.high - {term}
        recent.append(value)
