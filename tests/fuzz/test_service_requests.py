"""Malformed requests to the HTTP service: none is answered with a server error, and none stops it."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
from pathlib import Path

import pytest

import served
import toys

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*truncated")]
REQUESTS = int(os.environ.get("ENCLOZE_TEST_REQUESTS", "1000"))
PATHS = (
    "/ /v1/search /v1/documents /v1/documents/x /v1/documents/delete /v1/collections /v1/judgments /v1/embeddings "
    "/v1/models /embed /embed_sparse /rerank /v1/rerank /v2/rerank /info /health /metrics /openapi.json "
    "/page/search.js /page/%2e%2e/x /%00 /v1/search?query=%ff&k=-1 /v1/documents/%F0%9F%92%A9 //etc/passwd * http://x/ "
).split()
VALUES = (
    None, True, -1, 0, 1e308, 10**400, "", "x", "\x00", "\ud800", "נהר" * 50, "x" * 5000, [], [[]], {}, {"a": {}},
    ["x"] * 400, "year >", "number == 1", "__import__('os')", {"number": [1]}, {"$ne": 1},
)  # fmt: skip
FIELDS = (
    "query k depth filter views weights rerank explain passage_aggregation diversity collection documents ids input "
    "inputs texts dimensions encoding_format input_type prompt_name normalize document grade top_n id text title fields"
).split()
HEADERS = (
    "Content-Type: application/json", "Content-Type: text/plain", "Content-Type: application/json; charset=utf-16",
    "Content-Type:", "Authorization: Bearer", "Authorization: Basic \xff", "X-API-Key: \x01", "X-Request-Id: a b",
    "Host:", "Host: [::1", "Expect: 100-continue", "Content-Encoding: gzip", "Accept: text/html",
    "Cookie: " + "a" * 9000,
    "Range: bytes=0-1", "Transfer-Encoding: chunked", "Content-Length: 5", "Content-Length: -1", "Upgrade: websocket",
)  # fmt: skip


def request_of(dice: random.Random) -> bytes:
    """Return a request that is mostly malformed."""
    method = dice.choice(["POST"] * 6 + ["GET", "DELETE", "PUT", "OPTIONS", "HEAD", "PATCH", "TRACE", "???"])
    body = json.dumps({name: dice.choice(VALUES) for name in dice.sample(FIELDS, dice.randint(0, 6))}).encode()
    body = dice.choice([body] * 4 + [b"", b"{", b"\xff\xfe{}", body[:-1], b"[" * 3000, b'{"query": NaN}', b"null"])
    lines = [f"{method} {dice.choice(PATHS)} HTTP/{dice.choice(['1.1'] * 8 + ['1.0', '9.9'])}", "Host: localhost"]
    lines += dice.sample(HEADERS, dice.randint(0, 3))
    if dice.random() < 0.7:
        lines += ["Content-Type: application/json"]
    if dice.random() < 0.9:
        lines.append(f"Content-Length: {len(body) + dice.choice([0] * 9 + [7])}")
    raw = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\nConnection: close\r\n\r\n" + body
    if dice.random() < 0.05:
        raw = bytes(dice.choices(range(256), k=dice.randint(1, 300)))
    return raw[: dice.randint(1, len(raw))] if dice.random() < 0.1 else raw


def test_malformed_requests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With ENCLOZE_TEST_REQUESTS requests; by default 1,000."""
    model = toys.write_model(tmp_path / "model", views=("dense", "sparse"))
    index = served.build_index(tmp_path / "toys", model)
    service = served.service_of(index, reranks=True, judgments=tmp_path / "judged")
    dice, statuses = random.Random(os.environ.get("ENCLOZE_TEST_SEED", "0")), dict[str, int]()
    with caplog.at_level(logging.WARNING), served.serving(service) as client:
        for number in range(REQUESTS):
            raw = request_of(dice)
            with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)  # so that an incomplete request is not waited for
                answer = b""
                try:
                    while part := connection.recv(65_536):
                        answer += part
                except ConnectionResetError:
                    pass
            status = answer[9:12].decode("latin-1")
            assert not status.startswith("5"), (number, raw, answer)
            statuses[status] = statuses.get(status, 0) + 1
        assert client.post("/v1/search", {"query": "violin"}).status == 200
    assert {"200", "400", "404", "405", "415", "422"} <= statuses.keys(), statuses
    assert not [record for record in caplog.records if record.exc_info], caplog.text
