"""Measure the HTTP service under load: throughput with and without batches, latency, memory.

    python benchmarks/serving.py --index INDEX --dataset DATA --seconds 60

The service runs in a process of its own, and the clients in another one, which keeps connections open. Saturation is 16
clients that send their next query as soon as they have an answer, in turn with and without batches; half saturation is
half of the throughput of the first, sent at regular intervals. Memory is the resident set of the service.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from encloze import recipe
from encloze.data.collection import Dataset
from encloze.data.formats.base import Format
from encloze.serving.app import create_app
from encloze.serving.collections import Collection
from encloze.serving.limits import Limits
from encloze.serving.server import http_server, listen
from encloze.serving.service import BATCH_CHARACTERS, Service
from encloze.storage.provenance import versions

RESULTS = Path(__file__).parent / "results" / "serving.json"
CLIENTS, HALF_CLIENTS = 16, 8


def serve(index: Path, batch_characters: int, port: Any) -> None:
    """Serve an index until the process is terminated; send the port to ``port``."""
    collection = Collection(index.name, index)
    limits = Limits(cached_results=0)  # the clients send the same queries again and again
    service = Service({index.name: collection}, None, None, limits=limits, batch_characters=batch_characters)
    listening = listen("127.0.0.1", 0)
    port.send(listening.getsockname()[1])
    http_server(create_app(service), 5).run(sockets=[listening])


def load(port: int, queries: list[str], seconds: float, rate: float | None, results: Any) -> None:
    """Send queries; send milliseconds and statuses of the answers to ``results``.

    Args:
        port: Port of the service.
        queries: Queries, which are sent in turn.
        seconds: Duration.
        rate: Queries per second over all clients; None for as many as possible.
        results: Where the result is sent.
    """
    clients = HALF_CLIENTS if rate else CLIENTS
    numbers, measured, lock = itertools.count(), list[tuple[float, int]](), threading.Lock()
    began = time.perf_counter()

    def run() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                number = next(numbers)
            due = began + number / rate if rate else time.perf_counter()
            if due > began + seconds:
                return
            time.sleep(max(0.0, due - time.perf_counter()))
            body = json.dumps({"query": queries[number % len(queries)]})
            sent = time.perf_counter()
            connection.request("POST", "/v1/search", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            measured.append((1000 * (time.perf_counter() - (due if rate else sent)), answer.status))

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.send((measured, time.perf_counter() - began))


def in_process(target: Any, *arguments: Any) -> tuple[Any, Any]:
    """Start a process; return it, and what it sends first."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, sender), daemon=True)
    process.start()
    return process, receiver.recv()


def figures(measured: list[tuple[float, int]], seconds: float) -> dict[str, Any]:
    times = [milliseconds for milliseconds, _ in measured]
    statuses = [status for _, status in measured]
    percentiles = dict(zip(("p50", "p95", "p99"), np.percentile(times, (50, 95, 99)).round(2).tolist(), strict=True))
    counts = {str(status): statuses.count(status) for status in sorted(set(statuses))}
    return {"queries_per_second": round(len(times) / seconds, 1), **percentiles, "statuses": counts}


def memory(process: Any) -> float:
    """Return the resident memory of a process in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--dataset", required=True, help="data set whose queries are sent")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=float, default=0, help="seconds at saturation in which memory is watched")
    arguments = parser.parse_args()
    format_: Format = recipe.coerce(Format, arguments.dataset, source="benchmark", name="dataset")
    queries = [query.text for query in Dataset.load(str(format_.location())).split("test").queries]
    result: dict[str, Any] = {"versions": versions(), "index": arguments.index.name}
    services = {
        "batches": in_process(serve, arguments.index, BATCH_CHARACTERS),
        "one by one": in_process(serve, arguments.index, 1),
    }
    for name, (_, port) in services.items():
        in_process(load, port, queries, 5, None)  # warm-up
        result[name] = []
    for _ in range(arguments.rounds):
        for name, (_, port) in services.items():
            result[name].append(figures(*in_process(load, port, queries, arguments.seconds, None)[1]))
    rates = {name: float(np.median([one["queries_per_second"] for one in result[name]])) for name in services}
    result["ratio"] = round(rates["batches"] / rates["one by one"], 2)
    process, port = services["batches"]
    half = rates["batches"] / 2
    result["half saturation"] = figures(*in_process(load, port, queries, arguments.seconds, half)[1])
    watched = [memory(process)]
    for _ in range(int(arguments.soak // 60)):
        result.setdefault("soak", []).append(figures(*in_process(load, port, queries, 60, None)[1]))
        watched.append(memory(process))
    result["memory, MB"] = watched
    for process, _ in services.values():
        process.terminate()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "versions"}, indent=2))


if __name__ == "__main__":
    main()
