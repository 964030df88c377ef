"""The executor that computes shards in actors of Ray, on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_executor_processes import Squares

from encloze.errors import CheckpointError, ExecutionError
from encloze.execution.executors.ray import Ray

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]  # of Ray


def test_actors_compute_shards_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    job = Squares(8, tmp_path / "ledger", deadly=(3,), survivors=str(tmp_path / "marks"), failing=(6,))
    message = r"1 of 8 shards failed in 2 attempts.*\n  numbers 7 to 7: ValueError: cannot square 6"
    with pytest.warns(UserWarning, match="6 is too large"), pytest.raises(ExecutionError, match=message):
        list(Ray(workers=2, attempts=2).run(job))
    results = list(Ray(workers=2).run(Squares(8, tmp_path / "ledger")))  # computes only the shard that failed
    assert [result.square for result in results] == [number**2 for number in range(8)]
    processes = {result.process for result in results}
    assert os.getpid() not in processes and len(processes) >= 2
    with pytest.raises(CheckpointError, match="the model is damaged"):
        list(Ray(workers=1).run(Squares(2, cannot_load="model")))


def test_gpus_that_are_not_there_are_said() -> None:
    with pytest.raises(ExecutionError, match="this machine has no GPU that Ray finds: lower gpus_per_worker"):
        list(Ray(gpus_per_worker=64).run(Squares(2)))


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "no.such.host.invalid:10001"])
def test_a_cluster_that_cannot_be_reached_is_named(address: str) -> None:
    with pytest.raises(ExecutionError, match=f"the Ray cluster {address} cannot be reached: "):
        list(Ray(address=address).run(Squares(2)))
