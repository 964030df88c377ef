"""Generators: prompts, sampling, and errors of models and servers."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.generation import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

import toys
from chat_server import ChatHandler, ChatServer, chat_server, completion
from encloze.backbones.hf.generation import TextGenerationModel
from encloze.errors import CheckpointError, DataError, EndpointError
from encloze.generators.base import Generator, SourceDocument
from encloze.generators.endpoint import Endpoint
from encloze.generators.local import Local, TokenSampler, random_keys
from encloze.text.few_shot_prompts import DEFAULT_EXAMPLES, Prompt, first_line, read_examples

SOURCES = [SourceDocument(n, str(d["title"]), str(d["text"])) for n, d in enumerate(toys.documents()[:6])]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def local(folder: Path, **more: Any) -> Local:
    return Local(str(folder), **{"precision": "float32", "max_new_tokens": 12, **more})


def generate(
    generator: Generator, sources: list[SourceDocument] = SOURCES, *, each: int = 2, seed: int = 0
) -> dict[int, list[str]]:
    """Return the generated texts by document number."""
    size = generator.documents_per_batch
    batches = [sources[at : at + size] for at in range(0, len(sources), size)]
    return {number: texts for batch in generator.prepare(each, seed).generate(batches) for number, texts in batch}


# Prompts and first lines


def test_fields_in_a_document_are_not_replaced() -> None:
    prompt = Prompt("{title}: {text} {query} {text}", ())
    assert prompt.render(" A {text} ", "b {title}\n") == "A {text}: b {title} {query} b {title}"
    assert Prompt("Of {title} {text}?", ()).render("", "it") == "Of it?"


def test_examples_precede_the_document(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text('{"text": "one", "query": "which?"}\n{"title": "T", "text": "two", "query": "what?"}\n')
    prompt = Prompt.from_settings("{title} {text} ->", file)
    assert prompt.to_text("U", "three") == "one -> which?\n\nT two -> what?\n\nU three ->"
    messages = [(message["role"], message["content"]) for message in prompt.to_messages("", "three")]
    assert messages[:2] == [("user", "one ->"), ("assistant", "which?")] and messages[-1] == ("user", "three ->")
    assert (
        Prompt.from_settings("", None).examples == DEFAULT_EXAMPLES
        and Prompt.from_settings("{text}", None).examples == ()
    )


@pytest.mark.parametrize(
    ("lines", "message"), [('{"text": "one"}\n', 'some.jsonl:1: missing field "query"'), ("\n", "contains no examples")]
)
def test_malformed_examples_are_an_error(lines: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "some.jsonl").write_text(lines)
    with pytest.raises(DataError, match=message):
        read_examples(tmp_path / "some.jsonl")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\n what  is it? \nsecond", "what is it?"),
        ('"quoted"', "quoted"),
        ("<think>so\nand so</think>\nwhy?", "why?"),
        ("<think>never done", ""),
        (" \n", ""),
        ("half \ud800 a sign", "half a sign"),
    ],
)
def test_first_line(text: str, line: str) -> None:
    assert first_line(text) == line


def test_a_word_is_a_local_model_unless_it_looks_misspelled() -> None:
    assert Generator.from_name("BeIR/query-gen") == Local("BeIR/query-gen")
    with pytest.raises(ValueError, match="unknown generator 'endpiont'; did you mean 'endpoint'"):
        Generator.from_name("endpiont")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "Ask."}, "prompt must contain {text}"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"temperature": math.nan}, "temperature must be a number, not nan"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1"),
        ({"max_new_tokens": 0}, "max_new_tokens must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Local("m", **settings)


# Local models


@pytest.mark.parametrize(("top_k", "top_p", "temperature"), [(5, 0.8, 1.0), (0, 0.9, 0.7), (3, 1.0, 2.0)])
def test_sampling_matches_the_probabilities_of_transformers(top_k: int, top_p: float, temperature: float) -> None:
    scores = torch.randn(1, 12, generator=torch.Generator().manual_seed(3)) * 2
    warpers = [TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p)]
    warpers.insert(1, TopKLogitsWarper(top_k or 12))  # type: ignore[arg-type]
    expected = LogitsProcessorList(warpers)(torch.zeros(1, 1, dtype=torch.int64), scores).softmax(dim=1)[0]
    count = 40_000
    sampler = TokenSampler(
        Local("m", top_k=top_k, top_p=top_p, temperature=temperature), random_keys(0, torch.arange(count), 1)
    )
    found = torch.bincount(sampler(scores.expand(count, -1), 0), minlength=12) / count
    assert (found[expected == 0] == 0).all()
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert (sampler(scores.expand(count, -1), 0) != sampler(scores.expand(count, -1), 1)).any()


@pytest.mark.parametrize("kind", ["t5", "gpt2", "llama"])
def test_greedy_generation_equals_transformers(kind: str, tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / kind, kind)
    found = generate(local(folder, top_k=1), SOURCES[:2], each=1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    model = plain.from_pretrained(folder, dtype=torch.float32).eval()
    for source in SOURCES[:2]:
        bare = f"{source.title} {source.text}"
        text = bare if kind == "t5" else Prompt.from_settings("", None).to_text(source.title, source.text)
        given = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        made = model.generate(**given, max_new_tokens=12, do_sample=False)[0]
        made = made if kind == "t5" else made[given["input_ids"].shape[1] :]
        expected = tokenizer.decode(made, skip_special_tokens=True)
        assert found[source.number] == [first_line(expected)] and (found[source.number] != [""] or not expected.strip())


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_texts_depend_only_on_the_document_and_the_seed(kind: str, tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / kind, kind)
    together = generate(local(folder))
    torch.manual_seed(99)
    assert generate(local(folder, batch_size=1), SOURCES[::-1]) == together
    assert {number: texts[:1] for number, texts in together.items()} == generate(local(folder), each=1)
    assert all(first != second for first, second in together.values())
    assert generate(local(folder), seed=1) != together


def test_documents_are_truncated_and_inserted_into_the_prompt(tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "t5")
    long = SourceDocument(0, "", "river engine violin comet bakery")
    start, empty = TextGenerationModel.load(folder, torch.float32).truncate([long.text, ""], 2)
    assert long.text.startswith(start) and 0 < len(start) < len(long.text) and empty == ""
    assert generate(local(folder, max_document_tokens=2), [long]) == generate(
        local(folder), [long._replace(text=start)]
    )
    with_prompt = generate(local(folder, prompt="write: {text}"), [long])
    assert with_prompt == generate(local(folder), [long._replace(text=f"write: {long.text}")])
    assert with_prompt != generate(local(folder), [long])


def test_chat_models_get_chat_messages(tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "llama", "llama")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": CHAT_TEMPLATE}))
    found = generate(local(folder, top_k=1), SOURCES[:1], each=1)[0]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = Prompt.from_settings("", None).to_messages(SOURCES[0].title, SOURCES[0].text)
    text = "".join(f"{message['role']}: {message['content']}\n" for message in messages) + "assistant: "
    given = tokenizer(text, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    made = model.generate(**given, max_new_tokens=12, do_sample=False)[0, given["input_ids"].shape[1] :]
    assert found == [first_line(tokenizer.decode(made, skip_special_tokens=True))]


def test_a_causal_model_stops_at_the_end_of_a_line(tmp_path: Path) -> None:
    model = TextGenerationModel.load(toys.write_writer(tmp_path / "gpt2", "gpt2"), torch.float32)
    texts = model.tokenizer.batch_decode([[number] for number in range(len(model.tokenizer))])
    letter = texts.index("a")
    for line_break in (number for number, text in enumerate(texts) if "\n" in text):
        tokens = [letter, line_break, letter, letter]
        (text,) = model.generate(["x"], 1, 4, lambda scores, position: torch.tensor([tokens[position]]))  # noqa: B023
        assert text.count("a") == 1


def test_too_long_prompts_are_an_error(tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "gpt2", "gpt2")
    with pytest.raises(
        CheckpointError, match=r"tokens, plus 900 new tokens, but .*gpt2 is limited to 1024 tokens\. Lower"
    ):
        generate(local(folder, max_new_tokens=900))


def test_an_encoder_is_an_error(tmp_path: Path, model: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"cannot generate text \(architectures in its config.json: BertForMaskedLM\). Use a seq"
    ):
        local(model).prepare(1, 0)


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "t5")
    whole = AutoModelForSeq2SeqLM.from_pretrained(folder)
    kept = {name: weight for name, weight in whole.state_dict().items() if not name.startswith("decoder")}
    whole.save_pretrained(folder, state_dict=kept)
    with pytest.raises(CheckpointError, match=r"lacks weights of a text generation model: decoder\."):
        local(folder).prepare(1, 0)


# Servers


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A chat server of its own for each test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with chat_server() as server:
        yield server


def endpoint(server: ChatServer, **more: Any) -> Endpoint:
    return Endpoint(server.url, "writer", **{"prompt": "{text}", "backoff_factor": 0.001, **more})


def test_one_request_is_sent_per_query(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-7")
    found = generate(endpoint(server, api_key_variable="MY_KEY", max_document_words=3, max_new_tokens=9))
    assert found == {s.number: [f"about {' '.join(s.text.split()[:3])}"] * 2 for s in SOURCES}
    assert len(server.requests) == 12 and len({request["seed"] for request in server.requests}) == 12
    first = server.requests[0]
    assert first["path"] == "/v1/chat/completions" and first["key"] == "Bearer secret-7"
    assert (first["model"], first["temperature"], first["top_p"], first["max_tokens"]) == ("writer", 1.0, 0.95, 9)
    again = endpoint(server)
    generate(replace(again, url=f"{server.url}/chat/completions/"))
    assert {r["seed"] for r in server.requests[:12]} == {r["seed"] for r in server.requests[12:]}


def test_extra_body_adds_and_removes_fields(server: ChatServer) -> None:
    generate(endpoint(server, extra_body={"max_tokens": None, "seed": None, "max_completion_tokens": 5}), SOURCES[:1])
    assert "max_tokens" not in server.requests[0] and "seed" not in server.requests[0]
    assert server.requests[0]["max_completion_tokens"] == 5 and server.requests[0]["key"] is None


def test_requests_are_concurrent(server: ChatServer) -> None:
    meeting = threading.Barrier(3)

    def respond(body: dict[str, Any], _: int) -> tuple[int, Any]:
        meeting.wait(timeout=5)
        return 200, completion("it")

    server.responder = respond
    assert len(generate(endpoint(server, concurrency=3), each=1)) == 6


@pytest.mark.parametrize("status", [429, 503])
def test_requests_are_retried_if_the_server_is_busy(server: ChatServer, status: int) -> None:
    respond_normally = server.responder
    server.responder = lambda body, before: (status, {}) if before < 3 else respond_normally(body, before)
    assert len(generate(endpoint(server, concurrency=1), SOURCES[:2])) == 2 and len(server.requests) == 4 + 3


def test_requests_are_retried_after_a_timeout(server: ChatServer) -> None:
    respond_normally = server.responder

    def respond(body: dict[str, Any], before: int) -> tuple[int, Any]:
        time.sleep(0.5 * (before == 0))
        return respond_normally(body, before)

    server.responder = respond
    assert len(generate(endpoint(server, timeout=0.2, concurrency=1), SOURCES[:1], each=1)) == 1
    assert len(server.requests) == 2


ERROR = {"error": {"message": "No such thing, sorry."}}


@pytest.mark.parametrize(
    ("status", "response", "settings", "message"),
    [
        (500, ERROR, {}, r"status 500: No such thing, sorry\. Finished texts are saved: continue with --resume"),
        (429, b"", {}, r"status 429: empty response\. The request was sent 3 times\. Lower concurrency"),
        (401, ERROR, {"api_key_variable": "MY_KEY"}, r"status 401: No such .* Check the key in MY_KEY\."),
        (403, b"Go away", {}, r"status 403: Go away\. If the server requires a key, set api_key_variable"),
        (404, ERROR, {}, r"status 404: .* Check the url, and that the server has a model named 'writer'\."),
        (200, b"<html>Hello", {}, r"is not a chat completion: <html>Hello\. Check the url"),
        (200, {"choices": []}, {}, r"is not a chat completion: \{\"choices\": \[\]\}"),
        (200, [1], {}, r"is not a chat completion: \[1\]"),
    ],
)
def test_errors_of_a_server_are_reported(
    status: int,
    response: Any,
    settings: dict[str, Any],
    message: str,
    server: ChatServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-7")
    server.responder = lambda body, before: (status, response)
    with pytest.raises(EndpointError, match=message) as caught:
        generate(endpoint(server, max_retries=2, **settings), SOURCES[:1])
    assert "secret-7" not in str(caught.value)
    assert len(server.requests) == (3 if status in (429, 500) else 1)


def test_results_before_an_error_are_returned(server: ChatServer) -> None:
    respond_normally = server.responder
    bad = SOURCES[1].text
    server.responder = lambda body, n: (
        (400, b"no") if body["messages"][-1]["content"] == bad else respond_normally(body, n)
    )
    found = []
    with pytest.raises(EndpointError, match="status 400: no"):
        for batch in endpoint(server, concurrency=2).prepare(1, 0).generate([source] for source in SOURCES):
            found += [number for number, _ in batch]
    assert 0 in found and 1 not in found and len(server.requests) == len(found) + 1


def test_no_requests_are_sent_after_the_iterator_is_closed(server: ChatServer) -> None:
    found = endpoint(server, concurrency=1).prepare(1, 0).generate([source] for source in SOURCES * 5)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert len(server.requests) <= 3


def test_null_content_is_an_empty_text(server: ChatServer) -> None:
    server.responder = lambda body, before: (200, completion(None))
    assert generate(endpoint(server), SOURCES[:1]) == {0: ["", ""]}


def test_a_missing_server_is_an_error(server: ChatServer) -> None:
    free = ThreadingHTTPServer(("127.0.0.1", 0), ChatHandler)
    free.server_close()
    gone = Endpoint(f"http://127.0.0.1:{free.server_port}/v1", "writer", backoff_factor=0.0)
    with pytest.raises(
        EndpointError, match=r"does not respond \(.*Connection refused.*\)\. Check that the server is running"
    ):
        generate(gone, SOURCES[:1])


def test_a_proxy_is_used_if_configured(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    generate(Endpoint("http://somewhere.invalid/v1", "writer"), SOURCES[:1])
    assert server.requests[0]["path"] == "http://somewhere.invalid/v1/chat/completions"


class DrippingHandler(ChatHandler):
    """Handler that sends a byte every 20 milliseconds: of the headers if the path has "headers", else of the body."""

    def do_POST(self) -> None:  # noqa: N802
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        slow = head if "headers" in self.path else b" " * 1000
        try:
            self.wfile.write(b"" if slow is head else head)
            for byte in slow:
                self.wfile.write(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            self.close_connection = True


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_sends_a_byte_at_a_time_is_given_up(part: str, server: ChatServer) -> None:
    server.RequestHandlerClass = DrippingHandler
    started = time.monotonic()
    slow = Endpoint(f"{server.url}/{part}", "writer", timeout=0.3, max_retries=1, backoff_factor=0.0)
    with pytest.raises(EndpointError, match="does not respond"):
        generate(slow, SOURCES[:1], each=1)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("status", [200, 500])
def test_a_response_of_more_than_16_mib_is_an_error(status: int, server: ChatServer) -> None:
    server.responder = lambda body, before: (status, b" " * (2**24 + 1))
    with pytest.raises(EndpointError, match=r"larger than 16 MiB\. Check the url"):
        generate(endpoint(server), SOURCES[:1], each=1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("data", [b"9" * 5000, b"[" * 100_000, b'{"choices": 9', b"\xff", b"\x1f\x8b\x08"])
def test_a_response_that_is_no_json_is_an_error(data: bytes, server: ChatServer) -> None:
    server.responder = lambda body, before: (200, data)
    with pytest.raises(EndpointError, match="is not a chat completion"):
        generate(endpoint(server), SOURCES[:1], each=1)


@pytest.mark.parametrize("key", ["secret-7\nX: y", "secret 7", "secret-\u00e9"])
def test_a_key_that_no_header_can_hold_is_an_error_without_it(
    key: str, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(EndpointError, match="variable MY_KEY contains a line break, a space or") as caught:
        endpoint(server, api_key_variable="MY_KEY").prepare(1, 0)
    assert "secret" not in str(caught.value)


def test_a_missing_key_is_an_error_before_any_request(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(EndpointError, match=r"variable MY_KEY with the API key for http.* is not set\. Set it"):
        endpoint(server, api_key_variable="MY_KEY").prepare(1, 0)
    assert not server.requests


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "localhost:8000"}, "url must be the URL of a server"),
        ({"url": "https://me:secret-7@example.org/v1"}, "url must not contain a password or key"),
        ({"url": "https://example.org/v1?key=secret-7"}, "url must not contain a password or key"),
        ({"url": "https://example.org/v1#key=secret-7"}, "url must not contain a password or key"),
        ({"url": "https://secret-7@example.org/v1"}, "url must not contain a password or key"),
        ({"url": "https://example.org/sk-abcdefghijklmnop-secret-7"}, "url must not contain a password or key"),
        ({"url": "https://example.org:99999/v1"}, "url must be the URL of a server"),
        ({"url": "https://[example.org/v1"}, "url must be the URL of a server"),
        ({"url": "https://example.org\n/v1"}, "url must be the URL of a server"),
        (
            {"api_key_variable": "sk-secret-7"},
            "api_key_variable must be the name of an environment variable, not the key itself",
        ),
        ({"extra_body": {"api_key": "secret-7"}}, r"extra_body must not contain a key \(api_key\)"),
        ({"extra_body": {"headers": [{"X-Auth-Token": "secret-7"}]}}, r"must not contain a key \(X-Auth-Token\)"),
        ({"extra_body": {"user": "Bearer abcdefgh-secret-7"}}, r"extra_body must not contain a key \(user\)"),
        ({"concurrency": 0}, "concurrency must be 1 or more"),
        ({"timeout": 0.0}, "timeout must be above 0"),
        ({"timeout": math.nan}, "timeout must be a number, not nan"),
        ({"timeout": 1e300}, "timeout must be above 0 and at most"),
        ({"max_retries": -1}, "max_retries must be 0 or more"),
    ],
)
def test_secrets_and_invalid_settings_of_an_endpoint_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Endpoint(**{"url": "http://localhost:8000/v1", "model": "writer", **settings})
    assert "secret-7" not in str(caught.value)
