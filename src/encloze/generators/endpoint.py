"""A server that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, or one that wants a key."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from encloze.data.words import first_words
from encloze.errors import EndpointError
from encloze.generators._prompts import Prompt, first_line
from encloze.generators.base import Generator, Source, Writer, Written

_AGAIN = (408, 429, 500, 502, 503, 504)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = 300  # letters of a server's answer that an error repeats
_PATH = "/chat/completions"


@dataclass(frozen=True)
class Endpoint(Generator, name="endpoint"):
    """A model behind HTTP, asked once for each query; what it wrote is kept as it comes."""

    url: str
    """Where it is, up to /v1, as in http://localhost:8000/v1."""
    model: str
    """What the server calls the model."""
    key_variable: str | None = None
    """The environment variable that holds the key, where the server wants one. The key itself is written nowhere."""
    max_document_words: int = 300
    """Of a document's text so many words are sent."""
    concurrency: int = 8
    """Documents that are asked about at a time."""
    retries: int = 6
    """How often a question is asked again after a timeout, a 429 or a 5xx: at once, and then after growing pauses."""
    pause: float = 1.0
    """The pauses are 2, 4, 8 ... times so many seconds and a bit more; what the server says of them counts first."""
    timeout: float = 120.0
    """Seconds to wait for an answer."""
    more: dict[str, Any] = field(default_factory=dict)
    """Fields to send besides, or in place of the usual ones; null takes one out, as some servers refuse seed or
    max_tokens: {max_tokens: null, max_completion_tokens: 64}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must be that of a server, as in http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("url would be kept in the recipe, with what is secret in it. Name a key_variable instead")
        if self.key_variable is not None and not _NAME.fullmatch(self.key_variable):
            raise ValueError("key_variable is the name of an environment variable, not the key itself")
        if min(self.max_document_words, self.concurrency, self.retries + 1) < 1 or min(self.pause, self.timeout) < 0:
            raise ValueError(
                "max_document_words and concurrency must be 1 or more, retries, pause and timeout 0 or more"
            )

    def inputs(self) -> dict[str, Path | str]:
        return {**super().inputs(), "url": self.url, "model": self.model}

    def ready(self, each: int, seed: int) -> Writer:
        headers = {"Content-Type": "application/json"}
        if self.key_variable:
            if not (key := os.environ.get(self.key_variable, "").strip()):
                raise EndpointError(
                    f"the environment variable {self.key_variable} should hold the key for {self.url} and is not set. "
                    f"Set it first: export {self.key_variable}=..."
                )
            headers["Authorization"] = f"Bearer {key}"
        return _Writer(self, Prompt.of(self.prompt, self.examples), headers, each, seed)


class _Writer:
    """Asks a server, about several documents at a time."""

    def __init__(self, settings: Endpoint, prompt: Prompt, headers: dict[str, str], each: int, seed: int) -> None:
        self.settings, self.prompt, self.headers, self.each, self.seed = settings, prompt, headers, each, seed
        self.url = settings.url.rstrip("/").removesuffix(_PATH) + _PATH

    def write(self, batches: Iterable[list[Source]]) -> Iterator[list[Written]]:
        """Each batch's queries as they come. After an error nothing more is asked, but what is under way is taken."""
        rest, running, error = iter(batches), set[Future[list[Written]]](), None
        with ThreadPoolExecutor(self.settings.concurrency) as pool, self._connections() as connections:
            try:
                while True:
                    while error is None and len(running) < 2 * self.settings.concurrency:
                        if (batch := next(rest, None)) is None:
                            break
                        running.add(pool.submit(self._written, batch, connections))
                    if not running:
                        break
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        if future.exception() is None:
                            yield future.result()
                        elif error is None:
                            error = future.exception()
                    if error is not None:
                        running = {future for future in running if not future.cancel()}
            finally:  # Ctrl-C: nothing more is asked
                for future in running:
                    future.cancel()
        if error is not None:
            raise error

    def _connections(self) -> urllib3.PoolManager:
        settings = self.settings
        again = urllib3.Retry(
            settings.retries,
            connect=min(1, settings.retries),  # a server that is not there should be missed soon
            status_forcelist=_AGAIN,
            allowed_methods=None,  # POST, too: nothing is changed by asking twice
            backoff_factor=settings.pause,
            backoff_jitter=settings.pause,  # or all who were refused together would come back together
            raise_on_status=False,
        )
        how: dict[str, Any] = {"retries": again, "timeout": settings.timeout, "maxsize": settings.concurrency}
        parts = urlsplit(self.url)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
            return urllib3.ProxyManager(proxy, **how)
        return urllib3.PoolManager(**how)

    def _written(self, batch: list[Source], connections: urllib3.PoolManager) -> list[Written]:
        return [
            Written(source.number, [self._answer(source, at, connections) for at in range(self.each)])
            for source in batch
        ]

    def _answer(self, source: Source, at: int, connections: urllib3.PoolManager) -> str:
        settings = self.settings
        text = first_words(source.text, settings.max_document_words)
        draw = hashlib.sha256(f"{self.seed} {source.number} {at}".encode()).digest()
        usual = {
            "model": settings.model,
            "messages": self.prompt.turns(source.title, text),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_new_tokens,
            "seed": int.from_bytes(draw[:4], "big") >> 1,  # servers that heed it write the same again
        }
        body = {name: value for name, value in {**usual, **settings.more}.items() if value is not None}
        try:
            answer = connections.request("POST", self.url, body=json.dumps(body).encode(), headers=self.headers)
        except urllib3.exceptions.HTTPError as error:
            why = getattr(error, "reason", None) or error
            raise EndpointError(
                f"{self.url} does not answer ({why}). Is the server there? What is written is kept: go on with --resume"
            ) from error
        if answer.status != 200:
            raise EndpointError(self._refusal(answer.status, answer.data))
        return first_line(self._content(answer.data))

    def _refusal(self, status: int, data: bytes) -> str:
        """What is wrong, in the server's words."""
        remedy = {
            401: f"Is the key in {self.settings.key_variable} the right one?"
            if self.settings.key_variable
            else "It may want a key: name the environment variable that holds it as key_variable.",
            404: f"Is url right, and a model called {self.settings.model!r} there?",
            429: f"It was asked {self.settings.retries + 1} times; lower concurrency, or wait.",
        }
        what = remedy.get(401 if status == 403 else status, "")
        kept = "What is written is kept: go on with --resume"
        return " ".join(f"{self.url} answers {status}: {_said(data)}. {what} {kept}".split())

    def _content(self, data: bytes) -> str:
        try:
            content = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise EndpointError(
                f"{self.url} answers what is no chat completion: {_said(data)}. Is url right?"
            ) from error
        return str(content or "")


def _said(data: bytes) -> str:
    """What a server said, on one line: its message, where it is in OpenAI's form."""
    text = data.decode("utf-8", errors="replace")
    try:
        text = str(json.loads(text)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        text = text or "nothing"
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _WORDS else f"{line[:_WORDS]} ..."
