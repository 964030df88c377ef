"""Generators: what they are asked, what they draw from, and what they say when a model or a server is not as hoped."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.generation import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

import toys
from encloze.errors import CheckpointError, DataError, EndpointError
from encloze.generators._prompts import SHIPPED, Prompt, first_line, read_examples
from encloze.generators.base import Generator, Source
from encloze.generators.endpoint import Endpoint
from encloze.generators.local import Local, _Draws, _texts

SOURCES = [Source(n, str(d["title"]), str(d["text"])) for n, d in enumerate(toys.documents()[:6])]
CONVERSING = (
    "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def local(folder: Path, **more: Any) -> Local:
    return Local(str(folder), **{"precision": "float32", "max_new_tokens": 12, **more})


def written(
    generator: Generator, sources: list[Source] = SOURCES, *, each: int = 2, seed: int = 0
) -> dict[int, list[str]]:
    """What a generator writes, by document."""
    size = generator.together
    batches = [sources[at : at + size] for at in range(0, len(sources), size)]
    return {number: texts for batch in generator.ready(each, seed).write(batches) for number, texts in batch}


# What is asked, and what is taken of the answer


def test_a_template_takes_the_document_and_nothing_of_what_stands_in_it() -> None:
    prompt = Prompt("{title}: {text} {query} {text}", ())
    assert prompt.asked(" A {text} ", "b {title}\n") == "A {text}: b {title} {query} b {title}"
    assert Prompt("Of {title} {text}?", ()).asked("", "it") == "Of it?"


def test_examples_go_before_what_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text('{"text": "one", "query": "which?"}\n{"title": "T", "text": "two", "query": "what?"}\n')
    prompt = Prompt.of("{title} {text} ->", file)
    assert prompt.run_on("U", "three") == "one -> which?\n\nT two -> what?\n\nU three ->"
    said = [(turn["role"], turn["content"]) for turn in prompt.turns("", "three")]
    assert said[:2] == [("user", "one ->"), ("assistant", "which?")] and said[-1] == ("user", "three ->")
    assert Prompt.of("", None).examples == SHIPPED and Prompt.of("{text}", None).examples == ()


@pytest.mark.parametrize(
    ("lines", "says"), [('{"text": "one"}\n', 'some.jsonl:1: no "query" field'), ("\n", "holds no examples")]
)
def test_examples_that_are_none_are_refused(lines: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "some.jsonl").write_text(lines)
    with pytest.raises(DataError, match=says):
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
def test_the_first_line_counts(text: str, line: str) -> None:
    assert first_line(text) == line


def test_a_bare_word_is_a_local_model_unless_it_looks_misspelt() -> None:
    assert Generator.named("BeIR/query-gen") == Local("BeIR/query-gen")
    with pytest.raises(ValueError, match="no generator is called 'endpiont'; did you mean 'endpoint'"):
        Generator.named("endpiont")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prompt": "Ask."}, "prompt has no {text}"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"top_p": 1.5}, "top_p above 0 and at most 1"),
        ({"max_new_tokens": 0}, "max_new_tokens must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Local("m", **settings)


# Models on this machine


@pytest.mark.parametrize(("top_k", "top_p", "temperature"), [(5, 0.8, 1.0), (0, 0.9, 0.7), (3, 1.0, 2.0)])
def test_tokens_are_drawn_as_transformers_would(top_k: int, top_p: float, temperature: float) -> None:
    scores = torch.randn(1, 12, generator=torch.Generator().manual_seed(3)) * 2
    warpers = [TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p)]
    warpers.insert(1, TopKLogitsWarper(top_k or 12))  # type: ignore[arg-type]
    expected = LogitsProcessorList(warpers)(torch.zeros(1, 1, dtype=torch.int64), scores).softmax(dim=1)[0]
    count = 40_000
    draws = _Draws(Local("m", top_k=top_k, top_p=top_p, temperature=temperature), _texts(0, torch.arange(count), 1))
    found = torch.bincount(draws(scores.expand(count, -1), 0), minlength=12) / count
    assert (found[expected == 0] == 0).all()
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert (draws(scores.expand(count, -1), 0) != draws(scores.expand(count, -1), 1)).any()


@pytest.mark.parametrize("kind", ["t5", "gpt2", "llama"])
def test_the_likeliest_text_is_transformers_own(kind: str, tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / kind, kind)
    found = written(local(folder, top_k=1), SOURCES[:2], each=1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    plain = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    model = plain.from_pretrained(folder, dtype=torch.float32).eval()
    for source in SOURCES[:2]:
        bare = f"{source.title} {source.text}"
        text = bare if kind == "t5" else Prompt.of("", None).run_on(source.title, source.text)
        given = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        made = model.generate(**given, max_new_tokens=12, do_sample=False)[0]
        made = made if kind == "t5" else made[given["input_ids"].shape[1] :]
        expected = tokenizer.decode(made, skip_special_tokens=True)
        assert found[source.number] == [first_line(expected)] and (found[source.number] != [""] or not expected.strip())


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_what_is_written_for_a_document_depends_on_nothing_but_it_and_the_seed(kind: str, tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / kind, kind)
    together = written(local(folder))
    torch.manual_seed(99)
    assert written(local(folder, batch_size=1), SOURCES[::-1]) == together
    assert {number: texts[:1] for number, texts in together.items()} == written(local(folder), each=1)
    assert all(first != second for first, second in together.values())
    assert written(local(folder), seed=1) != together


def test_documents_are_cut_and_prompts_go_around_them(tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "t5")
    long = Source(0, "", "river engine violin comet bakery")
    cut = local(folder, max_document_tokens=2)
    kept = cut.ready(1, 0).model.cut([long.text, ""], 2)  # type: ignore[attr-defined]
    assert long.text.startswith(kept[0]) and 0 < len(kept[0]) < len(long.text) and kept[1] == ""
    assert written(cut, [long]) == written(local(folder), [long._replace(text=kept[0])])
    asked = written(local(folder, prompt="write: {text}"), [long])
    assert (
        asked == written(local(folder), [long._replace(text=f"write: {long.text}")]) != written(local(folder), [long])
    )


def test_a_model_that_converses_is_asked_in_turns(tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "llama", "llama")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": CONVERSING}))
    found = written(local(folder, top_k=1), SOURCES[:1], each=1)[0]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = Prompt.of("", None).turns(SOURCES[0].title, SOURCES[0].text)
    text = "".join(f"{turn['role']}: {turn['content']}\n" for turn in turns) + "assistant: "
    given = tokenizer(text, return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    made = model.generate(**given, max_new_tokens=12, do_sample=False)[0, given["input_ids"].shape[1] :]
    assert found == [first_line(tokenizer.decode(made, skip_special_tokens=True))]


def test_a_causal_model_stops_at_the_end_of_a_line(tmp_path: Path) -> None:
    model = local(toys.write_writer(tmp_path / "gpt2", "gpt2")).ready(1, 0).model  # type: ignore[attr-defined]
    texts = [model.tokenizer.decode([number]) for number in model._ends]
    assert len(texts) > 1 and all("\n" in text for text in texts[1:])


def test_a_prompt_that_is_too_long_is_refused(tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "gpt2", "gpt2")
    with pytest.raises(CheckpointError, match=r"tokens and 900 are to follow, and .*gpt2 takes 1024\. Lower"):
        written(local(folder, max_new_tokens=900))


def test_an_encoder_writes_nothing(tmp_path: Path, model: Path) -> None:
    with pytest.raises(CheckpointError, match=r"writes no text \(its config.json names BertForMaskedLM\)\. Give a seq"):
        local(model).ready(1, 0)


def test_a_folder_that_lacks_half_a_model_is_refused(tmp_path: Path) -> None:
    folder = toys.write_writer(tmp_path / "t5")
    whole = AutoModelForSeq2SeqLM.from_pretrained(folder)
    kept = {name: weight for name, weight in whole.state_dict().items() if not name.startswith("decoder")}
    whole.save_pretrained(folder, state_dict=kept)
    with pytest.raises(CheckpointError, match=r"lacks weights of a model that writes: decoder\."):
        local(folder).ready(1, 0)


# Servers

Answer = Callable[[dict[str, Any], int], tuple[int, Any]]


class Server(ThreadingHTTPServer):
    """Answers by a function of the request and how many came before it; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.answer: Answer = lambda body, _: (200, completion(f"about {body['messages'][-1]['content']}"))
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    """Reads a request, and writes what the server's function says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            before = len(server.asked)
            server.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        status, said = server.answer(body, before)
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing is said."""


def completion(text: str | None) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of one's own, on a thread."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def endpoint(server: Server, **more: Any) -> Endpoint:
    return Endpoint(server.url, "writer", **{"prompt": "{text}", "pause": 0.001, **more})


def test_a_server_is_asked_once_for_each_query(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-7")
    found = written(endpoint(server, key_variable="MY_KEY", max_document_words=3, max_new_tokens=9))
    assert found == {s.number: [f"about {' '.join(s.text.split()[:3])}"] * 2 for s in SOURCES}
    assert len(server.asked) == 12 and len({asked["seed"] for asked in server.asked}) == 12
    first = server.asked[0]
    assert first["path"] == "/v1/chat/completions" and first["key"] == "Bearer secret-7"
    assert (first["model"], first["temperature"], first["top_p"], first["max_tokens"]) == ("writer", 1.0, 0.95, 9)
    again = endpoint(server)
    written(replace(again, url=f"{server.url}/chat/completions/"))
    assert {a["seed"] for a in server.asked[:12]} == {a["seed"] for a in server.asked[12:]}


def test_fields_are_added_and_taken_out(server: Server) -> None:
    written(endpoint(server, more={"max_tokens": None, "seed": None, "max_completion_tokens": 5}), SOURCES[:1])
    assert "max_tokens" not in server.asked[0] and "seed" not in server.asked[0]
    assert server.asked[0]["max_completion_tokens"] == 5 and server.asked[0]["key"] is None


def test_documents_are_asked_about_side_by_side(server: Server) -> None:
    meeting = threading.Barrier(3)

    def answer(body: dict[str, Any], _: int) -> tuple[int, Any]:
        meeting.wait(timeout=5)
        return 200, completion("it")

    server.answer = answer
    assert len(written(endpoint(server, concurrency=3), each=1)) == 6


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(server: Server, status: int) -> None:
    plain = server.answer
    server.answer = lambda body, before: (status, {}) if before < 3 else plain(body, before)
    assert len(written(endpoint(server, concurrency=1), SOURCES[:2])) == 2 and len(server.asked) == 4 + 3


def test_a_slow_server_is_asked_again(server: Server) -> None:
    plain = server.answer

    def answer(body: dict[str, Any], before: int) -> tuple[int, Any]:
        time.sleep(0.5 * (before == 0))
        return plain(body, before)

    server.answer = answer
    assert len(written(endpoint(server, timeout=0.2, concurrency=1), SOURCES[:1], each=1)) == 1
    assert len(server.asked) == 2


WORDS = {"error": {"message": "No such thing, sorry."}}


@pytest.mark.parametrize(
    ("status", "said", "more", "says"),
    [
        (500, WORDS, {}, r"answers 500: No such thing, sorry\. What is written is kept: go on with --resume"),
        (429, b"", {}, r"answers 429: nothing\. It was asked 3 times; lower concurrency"),
        (401, WORDS, {"key_variable": "MY_KEY"}, r"answers 401: No such .* Is the key in MY_KEY the right one\?"),
        (403, b"Go away", {}, r"answers 403: Go away\. It may want a key: name the environment variable"),
        (404, WORDS, {}, r"answers 404: .* Is url right, and a model called 'writer' there\?"),
        (200, b"<html>Hello", {}, r"answers what is no chat completion: <html>Hello\. Is url right\?"),
        (200, {"choices": []}, {}, r"answers what is no chat completion: \{\"choices\": \[\]\}"),
        (200, [1], {}, r"answers what is no chat completion: \[1\]"),
    ],
)
def test_what_a_server_refuses_is_said_in_its_words(
    status: int, said: Any, more: dict[str, Any], says: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-7")
    server.answer = lambda body, before: (status, said)
    with pytest.raises(EndpointError, match=says) as caught:
        written(endpoint(server, retries=2, **more), SOURCES[:1])
    assert "secret-7" not in str(caught.value)
    assert len(server.asked) == (3 if status in (429, 500) else 1)


def test_what_came_before_an_error_is_not_lost(server: Server) -> None:
    plain = server.answer
    bad = SOURCES[1].text
    server.answer = lambda body, n: (400, b"no") if body["messages"][-1]["content"] == bad else plain(body, n)
    found = []
    with pytest.raises(EndpointError, match="answers 400: no"):
        for batch in endpoint(server, concurrency=2).ready(1, 0).write([source] for source in SOURCES):
            found += [number for number, _ in batch]
    assert 0 in found and 1 not in found and len(server.asked) == len(found) + 1


def test_after_a_stop_nothing_more_is_asked(server: Server) -> None:
    found = endpoint(server, concurrency=1).ready(1, 0).write([source] for source in SOURCES * 5)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert len(server.asked) <= 3


def test_nothing_said_is_an_empty_text(server: Server) -> None:
    server.answer = lambda body, before: (200, completion(None))
    assert written(endpoint(server), SOURCES[:1]) == {0: ["", ""]}


def test_a_server_that_is_not_there_is_missed(server: Server) -> None:
    free = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    free.server_close()
    gone = Endpoint(f"http://127.0.0.1:{free.server_port}/v1", "writer", pause=0.0)
    with pytest.raises(EndpointError, match=r"does not answer \(.*Connection refused.*\)\. Is the server there\?"):
        written(gone, SOURCES[:1])


def test_a_proxy_is_asked_where_there_is_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    written(Endpoint("http://somewhere.invalid/v1", "writer"), SOURCES[:1])
    assert server.asked[0]["path"] == "http://somewhere.invalid/v1/chat/completions"


def test_a_missing_key_is_missed_before_anything_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(EndpointError, match=r"variable MY_KEY should hold the key for http.* and is not set\. Set it"):
        endpoint(server, key_variable="MY_KEY").ready(1, 0)
    assert not server.asked


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "localhost:8000"}, "url must be that of a server"),
        ({"url": "https://me:secret-7@example.org/v1"}, "url would be kept in the recipe"),
        ({"url": "https://example.org/v1?key=secret-7"}, "url would be kept in the recipe"),
        ({"key_variable": "sk-secret-7"}, "key_variable is the name of an environment variable, not the key itself"),
        ({"concurrency": 0}, "concurrency must be 1 or more"),
    ],
)
def test_secrets_and_settings_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Endpoint(**{"url": "http://localhost:8000/v1", "model": "writer", **settings})
    assert "secret-7" not in str(caught.value)
