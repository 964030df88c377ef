"""The command serve: a real process that is started, used, stopped and killed."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import served
from encloze.cli.main import main
from encloze.retrieval.retriever import Retriever
from encloze.serving.server import listen
from served import Client

KEY = "k" * 20


@pytest.fixture
def index(tmp_path: Path) -> Path:
    Retriever.build([{"id": "1", "text": "Rivers flow into the sea."}], indexes=["bm25"], output=tmp_path / "index")
    return tmp_path / "index"


@contextmanager
def process(log: Path, *arguments: str | Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    """Start the service on a free port, and wait until it answers."""
    port = served.free_port()
    command = [sys.executable, "-m", "encloze", "serve", "--port", str(port), *map(str, arguments)]
    with log.open("wb") as stream:
        started = subprocess.Popen(command, stderr=stream, env=os.environ | environment)
        client, deadline = Client(port), time.monotonic() + 60
        try:
            while True:
                try:
                    assert client.get("/health").status == 200
                    break
                except OSError:
                    assert started.poll() is None and time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
            yield started, client
        finally:
            started.kill()
            started.wait()


@pytest.mark.long
def test_the_service_starts_answers_logs_and_stops(index: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ("--index", index, "--judgments", tmp_path / "judged")
    with process(log, *arguments, ENCLOZE_API_KEYS=f"me write {KEY}") as (started, client):
        assert client.post("/v1/search", {"query": "secret words"}).status == 401
        found = client.post("/v1/search", {"query": "sea"}, **{"X-API-Key": KEY})
        assert [hit["id"] for hit in found.body["hits"]] == ["1"]
        judged = {"query": "sea", "document": "1", "grade": 1}
        assert client.post("/v1/judgments", judged, **{"X-API-Key": KEY}).status == 200
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) in (0, -signal.SIGTERM)
    text = log.read_text()
    assert "Serving on http://127.0.0.1:" in text and "Traceback" not in text
    entries = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [entry["status"] for entry in entries if entry["route"] == "/v1/search"] == [200]
    assert KEY not in text and "secret" not in text


def acknowledged_documents(index: Path, log: Path, seconds: float) -> list[str]:
    """Add documents until the service is killed, in the midst of a request; return the ids that it acknowledged."""
    ids = list[str]()

    def write(client: Client, prefix: int) -> None:
        for number in itertools.count():
            names = [f"{prefix}-{number}-{part}" for part in range(3)]
            body = {"documents": [{"id": name, "text": f"zeppelin {name}"} for name in names]}
            try:
                answer = client.post("/v1/documents", body)
            except (OSError, http.client.HTTPException):
                return  # it was killed
            assert answer.status == 200
            ids.extend(names)

    with process(log, "--index", index) as (started, client):
        thread = threading.Thread(target=write, args=(client, started.pid))
        thread.start()
        time.sleep(seconds)
        started.send_signal(signal.SIGKILL)
        thread.join()
    return ids


@pytest.mark.slow
def test_acknowledged_documents_survive_kills(index: Path, tmp_path: Path) -> None:
    """With ENCLOZE_TEST_SERVICE_KILLS kills; by default 3."""
    expected, dice = {"1"}, random.Random(0)
    for _ in range(int(os.environ.get("ENCLOZE_TEST_SERVICE_KILLS", "3"))):
        expected |= set(acknowledged_documents(index, tmp_path / "log", dice.uniform(0.4, 1.2)))
        stored = {document.id for document in Retriever.load(index).corpus}
        assert expected <= stored
        extra = {name.rpartition("-")[0] for name in stored - expected}
        assert len(stored) > 1
        assert all(sum(name.startswith(f"{group}-") for name in stored) == 3 for group in extra)  # whole or not at all


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines, and there are no API keys"),
        (["--host", "::"], "can be reached from other machines"),
        (["--api_keys", "missing"], "missing cannot be read"),
        (["--port", "70000"], "port"),
    ],
)
def test_unsafe_and_wrong_settings_are_refused(
    arguments: list[str], message: str, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--index", str(index), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_port_in_use_is_refused(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as used:
        assert main(["serve", "--index", str(index), "--port", str(used.getsockname()[1])]) == 2
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err


def test_something_must_be_served(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve"]) == 2
    assert "there is nothing to serve" in capsys.readouterr().err
    assert main(["serve", "--index", f"{index},{tmp_path / 'other' / 'index'}"]) == 2
    assert "must have different names" in capsys.readouterr().err
    assert main(["serve", "--index", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
    assert main(["serve", "--index", str(index), "--print-recipe"]) == 0
    assert "api_keys: null" in capsys.readouterr().out
