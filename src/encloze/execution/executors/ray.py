"""The ray executor, which computes the shards of a job on the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from encloze import progress
from encloze.errors import ExecutionError, importable
from encloze.execution.executors._pool import Pool, PoolExecutor
from encloze.execution.executors._worker import Outcome, Worker
from encloze.execution.jobs import Computation
from encloze.settings import NonNegativeFloat, PositiveInt

_CONNECT_SECONDS = 10.0
_PATIENCE = 120.0  # seconds
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 300  # characters of an error


@dataclass(frozen=True)
class Ray(PoolExecutor, name="ray"):
    """Executor that computes shards in actors of a Ray cluster, or of Ray on this machine.

    The machines need the same version of encloze, and the model under the same path or name. Texts and results are sent
    through Ray, so the machines need no common folder.
    """

    address: str | None = None
    """Address of the cluster, such as auto or ray://head:10001. By default that of the environment variable
    RAY_ADDRESS; without it, Ray is started on this machine."""
    cpus_per_worker: PositiveInt = 1
    """Number of cores, and of threads, of each worker."""
    gpus_per_worker: NonNegativeFloat = 0.0
    """Number of GPUs of each worker; .5 lets two workers share one. The model must be on a GPU in this process, too."""

    @contextlib.contextmanager
    def pool(self, computation: Computation[Any]) -> Iterator[Pool]:
        """See the base class."""
        ray = importable("ray", "ray")
        address = self.address or os.environ.get("RAY_ADDRESS")
        with contextlib.ExitStack() as stack:
            if not ray.is_initialized():
                self._connect(ray, address)
                stack.callback(ray.shutdown)
            if not address and ray.cluster_resources().get("GPU", 0) < self.gpus_per_worker:
                raise ExecutionError(
                    "this machine has no GPU that Ray finds: lower gpus_per_worker, or give an address"
                )
            pool = _ActorPool(ray, computation, self.cpus_per_worker, self.gpus_per_worker, is_local=not address)
            stack.callback(pool.stop)
            yield pool

    def _connect(self, ray: Any, address: str | None) -> None:
        """Connect to a cluster, or start Ray on this machine."""
        _check_reachable(address)
        local = {} if address else {"num_cpus": self.workers * self.cpus_per_worker, "include_dashboard": False}
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level="error", **local)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            place = f"the Ray cluster {address}" if address else "Ray on this machine"
            raise ExecutionError(f"{place} cannot be reached or started: {error}") from error


class _ActorPool:
    """Workers that are actors of Ray.

    Args:
        ray: The package Ray, which is connected to a cluster.
        computation: What they compute.
        cpus: Number of cores of each actor.
        gpus: Number of GPUs of each actor.
        is_local: Whether all actors are on this machine, and find the same modules as this process.
    """

    def __init__(self, ray: Any, computation: Computation[Any], cpus: int, gpus: float, *, is_local: bool) -> None:
        self._ray, self._computation, self._wanted = ray, ray.put(computation), f"{cpus} CPUs and {gpus:g} GPUs"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(cpus))
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)} if is_local else {}
        environment = {"env_vars": threads | paths}
        self._actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, runtime_env=environment)(Worker)
        self._actors, self._running = dict[int, Any](), dict[Any, int]()
        self._has_answered = False

    def start(self, worker: int) -> None:
        self._actors[worker] = self._actor.remote(self._computation)  # Ray shows each actor only its own GPUs

    def send(self, worker: int, item: Any) -> None:
        self._running[self._actors[worker].compute.remote(item)] = worker

    def receive(self) -> tuple[int, Outcome]:
        ready: list[Any] = []
        while not ready:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_PATIENCE)
            if not ready and not self._has_answered:
                self._has_answered = True  # warn only once
                progress.warn(
                    f"no worker has answered for {_PATIENCE:.0f} seconds. Each needs {self._wanted}, and the Ray "
                    f"cluster has {self._ray.cluster_resources()}"
                )
        self._has_answered = True
        worker = self._running.pop(ready[0])
        try:
            return worker, self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            cause = " ".join(_COLORS.sub("", str(error)).split())[:_LONGEST]
            return worker, Outcome(error=f"a worker of Ray died: {cause}", has_died=True)

    def stop(self) -> None:
        """Stop all actors."""
        for actor in self._actors.values():
            self._ray.kill(actor)


def _check_reachable(address: str | None) -> None:
    """Raise ExecutionError if no process listens at HOST:PORT or ray://HOST:PORT. Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ExecutionError(f"the Ray cluster {address} cannot be reached: {error}") from error
