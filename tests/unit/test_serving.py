"""The HTTP service: protocols, changes, limits and safety, over real connections."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import other_clients
import served
import toys
from encloze.encoders.base import Encoder
from encloze.retrieval.retriever import Retriever
from encloze.serving import gate, server
from encloze.serving.keys import ApiKeys
from encloze.serving.limits import Limits
from encloze.serving.protocols.base import Protocol
from served import Client, serving

pytestmark = pytest.mark.filterwarnings("ignore:.*truncated", "ignore:.*has been changed")
READ, WRITE = "r" * 20, "w" * 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.write_model(tmp_path_factory.mktemp("models") / "model", views=("dense", "sparse"))


@pytest.fixture(scope="module")
def shared_index(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """An index that no test changes."""
    return served.build_index(tmp_path_factory.mktemp("indexes") / "toys", model)


@pytest.fixture(scope="module")
def client(shared_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service that no test changes."""
    judgments = tmp_path_factory.mktemp("judgments") / "judged"
    with serving(served.service_of(shared_index, reranks=True, judgments=judgments)) as client:
        yield client


@pytest.fixture
def index(tmp_path: Path, model: Path) -> Path:
    return served.build_index(tmp_path / "toys", model)


# Search


def test_a_search_over_http_is_that_of_the_retriever(client: Client, shared_index: Path) -> None:
    query = "the repair of a violin"
    for options, arguments in (
        ({"rerank": False}, {}),
        ({"rerank": False, "k": 3, "filter": "number < 20"}, {"k": 3, "filter": "number < 20"}),
        ({"rerank": False, "filter": {"source": ["comet", "river"]}}, {"filter": {"source": ["comet", "river"]}}),
        ({"rerank": False, "passage_aggregation": "max"}, {"passage_aggregation": "max"}),
    ):
        answer = client.post("/v1/search", {"query": query, **options})
        expected = Retriever.load(shared_index).search(query, **arguments)  # type: ignore[call-overload]
        assert answer.status == 200
        assert [(hit["id"], hit["score"]) for hit in answer.body["hits"]] == [
            (hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in expected
        ]
    hit = answer.body["hits"][0]
    document = {row["_id"]: row for row in toys.documents()}[hit["id"]]
    assert hit["title"] == document["title"] and hit["text"] == document["text"] and hit["fields"]["number"] >= 0
    assert "".join(text for text, _ in hit["passage"]) == hit["text"] and [True] in [[m] for _, m in hit["passage"]]
    assert answer.body["collection"] == "toys" and answer.body["answer"] is None and answer.body["milliseconds"] > 0


def test_views_weights_and_the_reranker_can_be_chosen(client: Client, shared_index: Path) -> None:
    query = {"query": "glacier dangers and repair", "k": 5}
    only = client.post("/v1/search", {**query, "views": ["bm25"], "rerank": False}).body["hits"]
    expected = Retriever.load(shared_index, views=["bm25"]).search(query["query"], k=5)
    assert [hit["id"] for hit in only] == [hit.id for hit in expected]
    weighted = client.post("/v1/search", {**query, "views": ["flat", "bm25"], "weights": [0, 1], "rerank": False})
    assert [hit["id"] for hit in weighted.body["hits"]] == [hit.id for hit in expected]
    reranked = client.post("/v1/search", query).body["hits"]
    assert reranked[0]["score"] == 1.0 and reranked[0]["parts"]["found"] > 0


def test_a_search_explains_its_hits(client: Client) -> None:
    body = {"query": "old river history", "explain": True, "rerank": False}
    hit = client.post("/v1/search", body).body["hits"][0]
    names = {part["name"]: part for part in hit["explanation"]}
    assert names.keys() == {"flat", "bm25"} and "river" in names["bm25"]["terms"] and not names["flat"]["terms"]


def test_a_query_in_the_address(client: Client) -> None:
    answer = client.get("/v1/search?query=violin%20repair&k=2&filter=number%20%3E%3D%200")
    assert answer.status == 200 and len(answer.body["hits"]) == 2


def test_concurrent_searches_are_batched_and_equal_single_ones(client: Client) -> None:
    queries = [query["text"] for query in toys.queries()]

    def found(query: str) -> list[str]:
        return [hit["id"] for hit in client.post("/v1/search", {"query": query, "rerank": False}).body["hits"]]

    alone = [found(query) for query in queries]
    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(found, queries)) == alone
    metrics = client.get("/metrics").body
    largest = [line for line in metrics.splitlines() if 'encloze_batch_items_bucket{le="1.0",stage="search"}' in line]
    count = [line for line in metrics.splitlines() if 'encloze_batch_items_count{stage="search"}' in line]
    assert float(largest[0].split()[-1]) < float(count[0].split()[-1])  # some batches have more than one query
    assert 'encloze_documents{collection="toys"} 40.0' in metrics
    for part in ("encoder", "index", "fusion"):
        assert f'encloze_search_part_seconds_count{{part="{part}"}}' in metrics
    assert 'encloze_waiting_items{stage="search"} 0.0' in metrics
    client.send("INVENTED", "/x")
    assert "INVENTED" not in client.get("/metrics").body and 'method="other"' in client.get("/metrics").body
    assert 'encloze_request_seconds_count{method="POST",route="/v1/search",status="200"}' in metrics


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"query": ""}, 422, "query: String should have at least 1 character"),
        ({"query": "   "}, 422, "the query is empty"),
        ({"k": 3}, 422, "query: Field required"),
        ({"query": "x", "k": 0}, 422, "k: Input should be greater than or equal to 1"),
        ({"query": "x", "collection": "none"}, 404, "there is no collection 'none'; the collections are toys"),
        ({"query": "x", "views": ["faiss"]}, 422, "there is no index 'faiss'; its indexes are bm25, flat"),
        ({"query": "x", "views": ["bm25"], "weights": [1, 2]}, 422, "2 weights for 1 indexes"),
        ({"query": "x", "weights": [0, 0]}, 422, "at least one above 0"),
        ({"query": "x", "filter": "year >"}, 422, "filter"),
        ({"query": "x", "filter": "unknown == 1"}, 422, "no document has the field 'unknown'"),
        ({"query": "x", "diversity": 2}, 422, "diversity"),
        (b"{", 400, "JSON"),
        (b"\xff\xfe", 400, ""),
        (b"[]", 422, ""),
        (b'{"query": "\\udc00"}', 422, "half of a surrogate pair"),
        (b'{"query": "x", "diversity": NaN}', 422, "NaN or infinite"),
        (b'{"query": "x", "diversity": 1e999}', 422, "NaN or infinite"),
    ],
)
def test_a_wrong_search_says_what_is_wrong(client: Client, body: Any, status: int, message: str) -> None:
    answer = client.post("/v1/search", body)
    assert answer.status == status and message in answer.body["error"]["message"]


# Documents


def test_documents_are_added_read_replaced_and_deleted(index: Path) -> None:
    with serving(served.service_of(index)) as client:
        new = {"id": "n/1", "title": "zeppelin", "text": "A zeppelin floats.", "fields": {"year": 1900}}
        change = client.post("/v1/documents", {"documents": [new]})
        assert change.status == 200 and change.body == {
            "documents": 41,
            "added": 1,
            "replaced": 0,
            "deleted": 0,
            "missing": [],
        }
        search = {"query": "zeppelin", "views": ["bm25"]}
        assert client.post("/v1/search", search).body["hits"][0]["fields"]["year"] == 1900
        assert client.get("/v1/documents/n%2F1").body["text"] == "A zeppelin floats."
        again = {"documents": [{**new, "text": "It sinks."}], "replace": False}
        assert client.post("/v1/documents", again).status == 409
        assert client.post("/v1/documents", {**again, "replace": True}).body["replaced"] == 1
        assert client.get("/v1/documents/n%2F1").body["text"] == "It sinks."
        assert len(Retriever.load(index)) == 41  # other processes see it
        assert client.send("DELETE", "/v1/documents/n%2F1").body["deleted"] == 1
        assert client.get("/v1/documents/n%2F1").status == 404
        assert client.send("DELETE", "/v1/documents/n%2F1").status == 404
        gone = client.post("/v1/documents/delete", {"ids": ["river-history", "never"]}).body
        assert gone["deleted"] == 1 and gone["missing"] == ["never"] and gone["documents"] == 39
        wrong = client.post("/v1/documents", {"documents": [{"id": "a", "text": "b", "fields": {"title": "c"}}]})
        assert wrong.status == 422 and "title is the name of a property" in wrong.body["error"]["message"]
        for name, value in (("_id", "x"), ("doc_id", "x"), ("n", 10**30)):
            body = {"documents": [{"id": "a", "text": "b", "fields": {name: value}}]}
            assert client.post("/v1/documents", body).status == 422, name
        index.rename(index.with_name("gone"))
        for body in ({"documents": [new]}, {"documents": [{**new, "id": "other"}]}):
            assert client.post("/v1/documents", body).status == 409
        assert client.send("DELETE", "/v1/documents/river-repair").status == 409
        assert client.post("/v1/search", {"query": "violin"}).status == 200  # the opened files are still there


def test_an_index_that_another_process_changes_or_rebuilds_is_opened_again(
    index: Path, model: Path, tmp_path: Path
) -> None:
    with serving(served.service_of(index)) as client:
        search = {"query": "a zeppelin over the harbour", "views": ["bm25"]}
        assert client.post("/v1/search", search).body["hits"][0]["id"].startswith("harbour")
        Retriever.load(index).add([{"id": "z", "text": "zeppelin"}])
        assert client.post("/v1/search", search).body["hits"][0]["id"] == "z"
        other = toys.write_model(tmp_path / "other", views=("dense",))
        rows = [{"id": "only", "text": "the only zeppelin"}, {"id": "second", "text": "a harbour"}]
        Retriever.build(rows, str(other), indexes=["flat", "bm25"], output=index, overwrite=True)
        assert {hit["id"] for hit in client.post("/v1/search", search).body["hits"]} == {"only", "second"}
        assert {hit["id"] for hit in client.post("/v1/search", {"query": "zeppelin"}).body["hits"]} == {
            "only",
            "second",
        }
        assert client.get("/v1/collections").body["collections"][0]["documents"] == 2
        chosen = client.post("/v1/search", {"query": "zeppelin", "views": ["flat"]}).body["hits"]
        assert {hit["id"] for hit in chosen} == {"only", "second"}
        assert client.get("/v1/models").body["data"][0]["id"] == "other"  # that of the index


def test_collections_are_described(client: Client) -> None:
    (found,) = client.get("/v1/collections").body["collections"]
    assert found["name"] == "toys" and found["views"] == ["flat", "bm25"] and found["can_rerank"]
    assert "number" in found["fields"] and found["model"] == "model"


def test_judgments_are_stored_and_shown(client: Client) -> None:
    body = {"query": "old violins", "document": "violin-history"}
    assert client.post("/v1/judgments", {**body, "grade": 2}).status == 200
    hits = client.post("/v1/search", {"query": "old violins", "k": 40}).body["hits"]
    assert {hit["id"]: hit["grade"] for hit in hits}["violin-history"] == 2
    assert client.post("/v1/judgments", {**body, "grade": None}).status == 200
    assert client.post("/v1/judgments", {**body, "document": "never", "grade": 1}).status == 404
    assert client.post("/v1/judgments", {**body, "grade": 11}).status == 422
    assert client.post("/v1/judgments", {**body, "query": " \x85", "grade": 1}).status == 422


# Other protocols


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return Encoder.from_pretrained(model)


TEXTS = ["where do rivers end", "a violin", "נהר"]


def test_openai_embeddings(client: Client, encoder: Encoder) -> None:
    for side, expected in (("query", encoder.represent_queries(TEXTS)), ("document", encoder.encode_documents(TEXTS))):
        answer = client.post("/v1/embeddings", {"input": TEXTS, "input_type": side, "model": "any"})
        assert answer.status == 200 and [row["index"] for row in answer.body["data"]] == [0, 1, 2]
        vectors = np.array([row["embedding"] for row in answer.body["data"]])
        np.testing.assert_allclose(vectors, expected.dense, atol=1e-5)
    packed = client.post("/v1/embeddings", {"input": TEXTS[0], "encoding_format": "base64"}).body["data"][0][
        "embedding"
    ]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), "<f4"), expected.dense[0], atol=1e-5)
    usage = answer.body["usage"]
    assert usage["prompt_tokens"] == usage["total_tokens"] == encoder.count_tokens(TEXTS, "document") > len(TEXTS)
    short = client.post("/v1/embeddings", {"input": TEXTS, "dimensions": 8}).body["data"]
    cut = expected.dense[:, :8] / np.linalg.norm(expected.dense[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose([row["embedding"] for row in short], cut, atol=1e-5)
    assert client.get("/v1/models").body["data"][0]["id"] == "model"
    assert client.post("/embed", {"inputs": "x", "dimensions": 33}).status == 422
    assert client.post("/embed", {"inputs": "x", "truncate": False}).status == 422
    for body in ({"input": []}, {"input": ["x"] * 300}, {"input": "x", "dimensions": 99}, {"input": [1, 2]}):
        wrong = client.post("/v1/embeddings", body)
        assert wrong.status == 422 and wrong.body["error"]["type"] == "invalid_request_error"


def test_text_embeddings_inference(client: Client, encoder: Encoder) -> None:
    expected = encoder.encode_documents(TEXTS)
    raw = client.post("/embed", {"inputs": TEXTS, "normalize": False}).body
    np.testing.assert_allclose(raw, expected.dense, atol=1e-5)
    for path in ("/embed", "/"):
        normalized = np.array(client.post(path, {"inputs": TEXTS[0], "prompt_name": "query"}).body)
        assert normalized.shape == (1, 32) and np.linalg.norm(normalized) == pytest.approx(1, abs=1e-5)
    sparse = client.post("/embed_sparse", {"inputs": TEXTS}).body
    for row, weights in zip(expected.sparse, sparse, strict=True):
        assert {w["index"]: pytest.approx(w["value"], abs=1e-5) for w in weights} == dict(
            zip(row.indices, row.data, strict=True)
        )
    ranked = client.post("/rerank", {"query": "red green", "texts": ["x", "red y green", "red"], "raw_scores": True})
    assert [(rank["index"], rank["score"]) for rank in ranked.body] == [(1, 0.0), (2, -1.0), (0, -2.0)]
    shown = client.post("/rerank", {"query": "red", "texts": ["red"], "return_text": True}).body
    assert shown == [{"index": 0, "score": pytest.approx(1 / (1 + np.e)), "text": "red"}]
    info = client.get("/info").body
    assert info["max_client_batch_size"] == 256 and info["model_id"] == "model"
    assert client.post("/embed", {"inputs": []}).body["error_type"] == "validation"


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_cohere_rerank(client: Client, path: str) -> None:
    body = {"query": "red green", "documents": ["x", {"text": "red y green"}, "red"], "top_n": 2}
    answer = client.post(path, {**body, "return_documents": True}).body
    assert [result["index"] for result in answer["results"]] == [1, 2]
    assert answer["results"][0]["relevance_score"] == pytest.approx(0.5)
    assert (
        answer["results"][0]["document"] == {"text": "red y green"} and answer["meta"]["api_version"]["version"] in path
    )
    assert "document" not in client.post(path, body).body["results"][0]
    assert "message" in client.post(path, {**body, "documents": []}).body


@pytest.mark.long
def test_the_clients_of_other_projects(client: Client, encoder: Encoder) -> None:
    """They run in a process of their own: Hugging Face's client refuses to work offline, and some leave files open."""
    texts = ["red green", "x", "red y green"]
    command = [sys.executable, "-W", "ignore", other_clients.__file__, str(client.port), WRITE, json.dumps(texts)]
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, expected = json.loads(done.stdout), encoder.encode_documents(texts).dense
    assert found["models"] == ["model", "words"]
    for name in ("float", "base64"):
        np.testing.assert_allclose(found[name], expected, atol=1e-5)
    np.testing.assert_allclose(found["hugging_face"], expected[:1] / np.linalg.norm(expected[0]), atol=1e-5)
    for name in ("ClientV2", "Client"):
        assert [index for index, _ in found[name]] == [0, 2, 1] and found[name][0][1] == pytest.approx(0.5)


def test_what_is_not_served_is_not_found(tmp_path: Path) -> None:
    folder = tmp_path / "words"
    Retriever.build([{"id": "1", "text": "rivers"}], indexes=["bm25"], output=folder)
    with serving(served.service_of(folder)) as client:
        for path, body in (
            ("/v1/embeddings", {"input": "x"}),
            ("/embed", {"inputs": "x"}),
            ("/embed_sparse", {"inputs": "x"}),
            ("/rerank", {"query": "x", "texts": ["y"]}),
            ("/v1/rerank", {"query": "x", "documents": ["y"]}),
        ):
            assert client.post(path, body).status == 404, path
        assert client.post("/v1/search", {"query": "rivers"}).body["hits"][0]["id"] == "1"
        assert client.post("/v1/search", {"query": "rivers", "rerank": True}).status == 422
        assert client.post("/v1/judgments", {"query": "x", "document": "1", "grade": 1}).status == 409


def test_errors_have_the_shape_of_their_protocol(client: Client) -> None:
    shapes = {path: client.post(path, b"[").body for path in ("/v1/embeddings", "/embed", "/v1/rerank", "/v1/search")}
    assert shapes["/v1/embeddings"]["error"]["code"] and shapes["/embed"]["error_type"]
    assert shapes["/v1/rerank"].keys() == {"message"} and shapes["/v1/search"]["error"]["code"] == "malformed"
    assert client.get("/none").status == 404 and client.get("/none").body["error"]["code"] == "not_found"
    wrong = client.get("/v1/embeddings")
    assert wrong.status == 405 and wrong.headers["allow"] == "POST"
    assert client.send("OPTIONS", "/v1/search").headers["allow"] == "GET, POST"
    assert client.send("HEAD", "/").status == client.send("HEAD", "/health").status == 200
    assert client.get("/v1/collections/", Host="evil.example").status == 404
    assert {"native", "openai", "tei", "cohere"} <= set(Protocol.members())


def test_the_api_is_described(client: Client) -> None:
    paths = client.get("/openapi.json").body["paths"]
    assert {"/v1/search", "/v1/documents", "/v1/embeddings", "/embed", "/rerank", "/v2/rerank"} <= paths.keys()
    assert {"401", "413", "422", "429"} <= paths["/v1/search"]["post"]["responses"].keys()


# Limits and safety


def test_keys_and_their_scopes(index: Path, tmp_path: Path) -> None:
    keys = ApiKeys.parse([f"reader read {READ}", f"writer write {WRITE}"])
    with serving(served.service_of(index, judgments=tmp_path / "judged"), keys) as client:
        search, new = {"query": "river"}, {"documents": [{"id": "n", "text": "x"}]}
        for headers in ({}, {"Authorization": f"Bearer {READ}x"}, {"Authorization": READ}, {"X-API-Key": "guess"}):
            refused = client.post("/v1/search", search, **headers)
            assert refused.status == 401 and refused.headers["www-authenticate"] == "Bearer"
        for headers in ({"Authorization": f"Bearer {READ}"}, {"X-API-Key": READ}, {"authorization": f"bearer {WRITE}"}):
            assert client.post("/v1/search", search, **headers).status == 200
        assert client.post("/v1/documents", new, **{"X-API-Key": READ}).status == 403
        assert client.get("/v1/documents/river-history", **{"X-API-Key": READ}).status == 200
        assert client.send("DELETE", "/v1/documents/river-history", headers={"X-API-Key": READ}).status == 403
        assert client.post("/v1/documents", new, **{"X-API-Key": WRITE}).status == 200
        newline = {"X-API-Key": READ}
        assert client.send("DELETE", "/v1/documents/river-history%0A", headers=newline).status == 400
        assert client.post("/v1/documents%0A", new, **newline).status == 400
        assert client.post("/v1/judgments", {"query": "x", "document": "n", "grade": 1}, **newline).status == 403
        assert client.post("/v1/documents/delete", {"ids": ["n"]}, **newline).status == 403
        assert client.get("/health").status == 200 and client.get("/").status == 200
        for path in ("/metrics", "/info", "/v1/collections", "/openapi.json", "/v1/documents/n"):
            assert client.get(path).status == 401, path


def test_the_rate_of_requests_is_limited(index: Path) -> None:
    with serving(served.service_of(index, limits=Limits(requests_per_second=2))) as client:
        statuses = [client.get("/info").status for _ in range(6)]
        assert statuses[0] == 200 and 429 in statuses
        answer = client.get("/info")
        assert answer.status == 429 and int(answer.headers["retry-after"]) >= 1


def test_large_slow_and_foreign_bodies_are_refused(shared_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_BODY_SECONDS", 0.3)
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.5)
    with serving(served.service_of(shared_index, limits=Limits(body_bytes=2000))) as client:
        assert client.post("/v1/search", {"query": "x" * 3000}).status == 413
        chunked = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
        chunked.request(
            "POST", "/v1/search", iter([b"x" * 1500] * 3), {"Content-Type": "application/json"}, encode_chunked=True
        )
        assert chunked.getresponse().status == 413
        chunked.close()
        form = client.send("POST", "/v1/search", b"query=x", {"Content-Type": "application/x-www-form-urlencoded"})
        assert form.status == 415
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as slow:
            slow.sendall(b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
            slow.sendall(b"Content-Length: 100\r\n\r\n{")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as slow:
            slow.sendall(b"GET /health HTTP/1.1\r\nHost: loc")
            assert slow.recv(1000) == b""  # closed
        kept = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
        for _ in range(2):
            kept.request("GET", "/health")
            answer = kept.getresponse()
            assert answer.status == 200 and answer.read()
            time.sleep(0.6)  # longer than the head of a request may take
        kept.close()
        assert client.post("/v1/search", {"query": "x"}).status == 200


def test_only_known_host_names_are_answered(shared_index: Path) -> None:
    with serving(served.service_of(shared_index), hosts=("localhost", "::1")) as client:
        for host, status in (("localhost:80", 200), ("LOCALHOST", 200), ("[::1]:8080", 200), ("evil.example", 403)):
            assert client.get("/health", Host=host).status == status, host


def test_responses_have_safe_headers(client: Client) -> None:
    for path in ("/", "/v1/collections", "/none", "/page/search.js"):
        headers = client.get(path, **{"X-Request-Id": "my-id.1"}).headers
        assert headers["x-request-id"] == "my-id.1" and headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"] and "unsafe" not in str(headers)
        assert "access-control-allow-origin" not in headers and "server" not in headers
    assert client.get("/", **{"X-Request-Id": "a b<c>"}).headers["x-request-id"] != "a b<c>"
    for path in ("/page/..%2f..%2fservice.py", "/page/search.html", "/page/%2Fetc%2Fpasswd", "/page/../keys.py"):
        assert client.get(path).status == 404


def test_logs_contain_no_text_and_no_key(shared_index: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = ApiKeys.parse([f"reader read {READ}"])
    with caplog.at_level(logging.INFO, "encloze.serving"), serving(served.service_of(shared_index), keys) as client:
        client.get("/v1/search?query=secretwords", **{"X-API-Key": READ})
        client.post("/v1/search", {"query": "secretwords"}, **{"X-API-Key": READ})
        client.get("/v1/documents/secretwords", **{"X-API-Key": READ})
        client.post("/v1/search", {"query": "secretwords"}, **{"X-API-Key": "wrong" + READ})
        client.get("/secretwords", **{"X-API-Key": READ})
    entries = [json.loads(record.message) for record in caplog.records if record.name == "encloze.serving"]
    entries = [entry for entry in entries if entry["key"] != "anonymous"]  # of the service of other tests
    assert [(one["route"], one["status"], one["key"]) for one in entries] == [
        ("/v1/search", 200, "reader"),
        ("/v1/search", 200, "reader"),
        ("/v1/documents/{id:path}", 404, "reader"),
        ("none", 401, None),
        ("none", 404, "reader"),
    ]
    assert "secretwords" not in caplog.text and READ not in caplog.text


class SlowReranker(served.WordReranker):
    """A re-ranker that waits until it may go on."""

    def __init__(self) -> None:
        self.go, self.calls = threading.Event(), 0

    def score(self, pairs: Any) -> np.ndarray:
        self.calls += 1
        self.go.wait(10)
        return super().score(pairs)


def test_requests_time_out_and_too_many_are_refused(shared_index: Path) -> None:
    service = served.service_of(shared_index, reranks=True, limits=Limits(seconds=0.5, waiting=3))
    service.reranker = slow = SlowReranker()
    body = {"query": "x", "texts": ["a", "b"]}
    with serving(service) as client, ThreadPoolExecutor(4) as threads:
        first = threads.submit(client.post, "/rerank", body)
        while not slow.calls:
            time.sleep(0.01)
        second = threads.submit(client.post, "/rerank", body)
        time.sleep(0.1)
        refused = client.post("/rerank", body)
        assert refused.status == 429 and refused.body["error_type"] == "overloaded" and refused.headers["retry-after"]
        assert [one.result().status for one in (first, second)] == [504, 504]
        slow.go.set()
        deadline = time.monotonic() + 5
        while client.post("/rerank", body).status != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert slow.calls >= 2


def test_a_client_that_leaves_gives_its_place_up(shared_index: Path) -> None:
    service = served.service_of(shared_index, reranks=True)
    service.reranker = slow = SlowReranker()
    with serving(service) as client, ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.post, "/rerank", {"query": "x", "texts": ["a"]})
        while not slow.calls:
            time.sleep(0.01)
        body = json.dumps({"query": "gone", "texts": ["a"] * 7}).encode()
        head = (
            f"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", client.port)) as leaving:
            leaving.sendall(head.encode() + body)
            time.sleep(0.2)
        time.sleep(0.2)
        slow.go.set()
        assert first.result().status == 200
        client.post("/rerank", {"query": "x", "texts": ["a"]})
        assert slow.calls == 2  # not the one of the client that left


def test_accepted_requests_are_finished_at_the_end(shared_index: Path) -> None:
    service = served.service_of(shared_index, reranks=True)
    service.reranker = slow = SlowReranker()
    with ThreadPoolExecutor(1) as threads:
        with serving(service) as client:
            pending = threads.submit(client.post, "/rerank", {"query": "x", "texts": ["a"]})
            while not slow.calls:
                time.sleep(0.01)
            threading.Timer(0.3, slow.go.set).start()
        assert pending.result().status == 200


# Cached results and traces


def cached(client: Client) -> dict[str, float]:
    """Return how many results were in the cache, and how many were not."""
    lines = [
        line for line in client.get("/metrics").body.splitlines() if line.startswith("encloze_cached_results_total")
    ]
    return {line.partition('"')[2].partition('"')[0]: float(line.split()[-1]) for line in lines}


def test_repeated_searches_are_answered_from_the_cache_until_documents_change(index: Path) -> None:
    with serving(served.service_of(index)) as client:
        first, again = (client.post("/v1/search", {"query": "violin"}).body["hits"] for _ in range(2))
        assert first == again and cached(client) == {"hit": 1, "miss": 1}
        client.post("/v1/search", {"query": "violin", "k": 3})  # other settings
        client.post("/v1/documents", {"documents": [{"id": "new", "text": "violin violin violin"}]})
        assert "new" in [hit["id"] for hit in client.post("/v1/search", {"query": "violin"}).body["hits"]]
        client.send("DELETE", "/v1/documents/new")
        assert client.post("/v1/search", {"query": "violin"}).body["hits"] == first
        assert cached(client) == {"hit": 1, "miss": 4}


def test_changes_by_other_processes_and_the_size_limit_the_cache(index: Path) -> None:
    with serving(served.service_of(index, limits=Limits(cached_results=1))) as client:
        for query in ("violin", "comet", "violin", "violin"):
            client.post("/v1/search", {"query": query})
        assert cached(client) == {"hit": 1, "miss": 3}
        Retriever.load(index).add([{"id": "new", "text": "violin violin violin"}])
        assert "new" in [hit["id"] for hit in client.post("/v1/search", {"query": "violin"}).body["hits"]]


def test_requests_are_spans_of_the_trace_that_they_name(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    ended: list[dict[str, Any]] = []

    class Span(trace.NonRecordingSpan):  # type: ignore[misc, name-defined]
        def __init__(self, context: Any) -> None:
            super().__init__(trace.get_current_span(context).get_span_context())
            self.found: dict[str, Any] = {"trace": self.get_span_context().trace_id}

        def update_name(self, name: str) -> None:
            self.found["name"] = name

        def set_attribute(self, key: str, value: Any) -> None:
            self.found[key] = value

        def set_status(self, status: Any, description: str | None = None) -> None:
            self.found["failed"] = status.status_code == trace.StatusCode.ERROR

        def end(self, end_time: int | None = None) -> None:
            ended.append(self.found)

    class Tracer(trace.NoOpTracer):  # type: ignore[misc, name-defined]
        def start_span(self, name: str, context: Any = None, **settings: Any) -> Any:
            return Span(context)

    monkeypatch.setattr(trace, "get_tracer", lambda name: Tracer())
    service = served.service_of(index)
    with serving(service) as client:
        client.post("/v1/search", {"query": "secretwords"}, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")
        monkeypatch.setattr(service.collections["toys"], "search", lambda *_: 1 / 0)
        client.post("/v1/search", {"query": "other"})
    found, failed = ended
    assert found["trace"] == int("ab" * 16, 16) and found["name"] == "POST /v1/search"
    assert found["http.response.status_code"] == 200 and "failed" not in found and "secretwords" not in str(found)
    assert failed["failed"] and failed["http.response.status_code"] == 500
