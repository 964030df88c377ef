"""The slurm executor, for the tasks of a job array of the workload manager Slurm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from encloze.execution.executors._peers import PeerExecutor


@dataclass(frozen=True)
class Slurm(PeerExecutor, name="slurm"):
    """Executor for the tasks of a Slurm job array, which share a folder for the cache (ENCLOZE_CACHE).

    ``sbatch --array 0-7 --wrap "encloze encode ... --execution slurm"``. Tasks may start at different times.
    """

    variables: ClassVar[tuple[str, str]] = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    first_variable: ClassVar[str | None] = "SLURM_ARRAY_TASK_MIN"
    launcher: ClassVar[str] = "sbatch --array 0-7 ..."
