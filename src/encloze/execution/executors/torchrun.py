"""The torchrun executor, for processes that ``torchrun`` has started on one or several machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from encloze.execution.executors._peers import PeerExecutor


@dataclass(frozen=True)
class Torchrun(PeerExecutor, name="torchrun"):
    """Executor for processes that torchrun has started, which share a folder for the cache (ENCLOZE_CACHE).

    ``torchrun --nproc_per_node 8 -m encloze encode ... --execution torchrun``
    """

    variables: ClassVar[tuple[str, str]] = ("RANK", "WORLD_SIZE")
    launcher: ClassVar[str] = "torchrun --nproc_per_node N -m encloze ..."
