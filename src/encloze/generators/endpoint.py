"""Endpoint generator: a server with the OpenAI chat completions API, such as vLLM, llama.cpp or Ollama."""

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

from encloze.data.words import truncate_words
from encloze.errors import EndpointError
from encloze.generators.base import GeneratedTexts, Generator, PreparedGenerator, SourceDocument
from encloze.text.few_shot_prompts import Prompt, first_line

_RETRIED_STATUSES = (408, 429, 500, 502, 503, 504)
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_SHOWN = 300  # characters of a response in an error message
_PATH = "/chat/completions"


@dataclass(frozen=True)
class Endpoint(Generator, name="endpoint"):
    """A model on an HTTP server. Each query is one request, and each batch of results is saved when it is complete."""

    url: str
    """Base URL of the server up to /v1, such as http://localhost:8000/v1."""
    model: str
    """Name of the model on the server."""
    api_key_variable: str | None = None
    """Environment variable with the API key, if the server requires one. The key itself is not saved anywhere."""
    max_document_words: int = 300
    """Number of words to which the text of a document is truncated."""
    concurrency: int = 8
    """Number of documents that are processed concurrently."""
    max_retries: int = 6
    """Number of retries after a timeout or one of the statuses 408, 429, 500, 502, 503 and 504. The first retry is
    immediate; the delay before later ones increases."""
    backoff_factor: float = 1.0
    """The delays are 2, 4, 8 ... times this number of seconds, plus a random part. A Retry-After header takes
    precedence."""
    timeout: float = 120.0
    """Seconds to wait for a response."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Additional fields of the request body, which override the default fields. null removes a field that a server
    rejects: {max_tokens: null, max_completion_tokens: 64}."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must be the URL of a server, such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError(
                "url must not contain a password or key, because it is saved in the recipe. Use api_key_variable"
            )
        if self.api_key_variable is not None and not _VARIABLE_NAME.fullmatch(self.api_key_variable):
            raise ValueError("api_key_variable must be the name of an environment variable, not the key itself")
        if min(self.max_document_words, self.concurrency) < 1:
            raise ValueError("max_document_words and concurrency must be 1 or more")
        if min(self.max_retries, self.backoff_factor, self.timeout) < 0:
            raise ValueError("max_retries, backoff_factor and timeout must be 0 or more")

    def inputs(self) -> dict[str, Path | str]:
        return {**super().inputs(), "url": self.url, "model": self.model}

    def prepare(self, queries_per_document: int, seed: int) -> PreparedGenerator:
        headers = {"Content-Type": "application/json"}
        if self.api_key_variable:
            if not (key := os.environ.get(self.api_key_variable, "").strip()):
                raise EndpointError(
                    f"the environment variable {self.api_key_variable} with the API key for {self.url} is not set. "
                    f"Set it first: export {self.api_key_variable}=..."
                )
            headers["Authorization"] = f"Bearer {key}"
        prompt = Prompt.from_settings(self.prompt, self.examples)
        return _EndpointGenerator(self, prompt, headers, queries_per_document, seed)


class _EndpointGenerator:
    """Sends requests to a server, for several documents at a time."""

    def __init__(
        self, settings: Endpoint, prompt: Prompt, headers: dict[str, str], queries_per_document: int, seed: int
    ) -> None:
        self._settings, self._prompt, self._headers = settings, prompt, headers
        self._queries_per_document, self._seed = queries_per_document, seed
        self._url = settings.url.rstrip("/").removesuffix(_PATH) + _PATH

    def generate(self, batches: Iterable[list[SourceDocument]]) -> Iterator[list[GeneratedTexts]]:
        """Yield the texts of each batch when they arrive.

        After an error no further requests are sent. The error is raised after the results of running requests are
        yielded.
        """
        source, running, error = iter(batches), set[Future[list[GeneratedTexts]]](), None
        with ThreadPoolExecutor(self._settings.concurrency) as pool, self._connection_pool() as connections:
            try:
                while True:
                    while error is None and len(running) < 2 * self._settings.concurrency:
                        if (batch := next(source, None)) is None:
                            break
                        running.add(pool.submit(self._generate_batch, batch, connections))
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
            finally:  # also on Ctrl-C: no further requests are sent
                for future in running:
                    future.cancel()
        if error is not None:
            raise error

    def _connection_pool(self) -> urllib3.PoolManager:
        settings = self._settings
        retry = urllib3.Retry(
            settings.max_retries,
            connect=min(1, settings.max_retries),  # fail early if there is no server
            status_forcelist=_RETRIED_STATUSES,
            allowed_methods=None,  # also POST: repeating a request has no side effects
            backoff_factor=settings.backoff_factor,
            backoff_jitter=settings.backoff_factor,  # otherwise all rejected requests would be repeated together
            raise_on_status=False,
        )
        options: dict[str, Any] = {"retries": retry, "timeout": settings.timeout, "maxsize": settings.concurrency}
        parts = urlsplit(self._url)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
            return urllib3.ProxyManager(proxy, **options)
        return urllib3.PoolManager(**options)

    def _generate_batch(self, batch: list[SourceDocument], connections: urllib3.PoolManager) -> list[GeneratedTexts]:
        indices = range(self._queries_per_document)
        return [
            GeneratedTexts(document.number, [self._generate_text(document, index, connections) for index in indices])
            for document in batch
        ]

    def _generate_text(self, document: SourceDocument, index: int, connections: urllib3.PoolManager) -> str:
        """Request one text for a document, and return it; ``index`` distinguishes the texts of a document."""
        settings = self._settings
        text = truncate_words(document.text, settings.max_document_words)
        digest = hashlib.sha256(f"{self._seed} {document.number} {index}".encode()).digest()
        defaults = {
            "model": settings.model,
            "messages": self._prompt.to_messages(document.title, text),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_new_tokens,
            "seed": int.from_bytes(digest[:4], "big") >> 1,  # servers that support seeds return the same text again
        }
        body = {name: value for name, value in {**defaults, **settings.extra_body}.items() if value is not None}
        try:
            response = connections.request("POST", self._url, body=json.dumps(body).encode(), headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise EndpointError(
                f"{self._url} does not respond ({reason}). Check that the server is running. Finished texts are saved: "
                "continue with --resume"
            ) from error
        if response.status != 200:
            raise EndpointError(self._status_message(response.status, response.data))
        return first_line(self._content(response.data))

    def _status_message(self, status: int, data: bytes) -> str:
        """Return the error message for a response with an HTTP status other than 200."""
        settings = self._settings
        if status in (401, 403):
            remedy = (
                f"Check the key in {settings.api_key_variable}."
                if settings.api_key_variable
                else "If the server requires a key, set api_key_variable to the environment variable that holds it."
            )
        elif status == 404:
            remedy = f"Check the url, and that the server has a model named {settings.model!r}."
        elif status == 429:
            remedy = f"The request was sent {settings.max_retries + 1} times. Lower concurrency, or wait."
        else:
            remedy = ""
        message = f"{self._url} responds with status {status}: {_response_text(data)}."
        return " ".join(f"{message} {remedy} Finished texts are saved: continue with --resume".split())

    def _content(self, data: bytes) -> str:
        """Return the generated text in a chat completion; raise EndpointError if the response is not one."""
        try:
            content = json.loads(data)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise EndpointError(
                f"the response of {self._url} is not a chat completion: {_response_text(data)}. Check the url"
            ) from error
        return str(content or "")


def _response_text(data: bytes) -> str:
    """Return a response on one line: its error message if it has the format of OpenAI, else the beginning of it."""
    text = data.decode("utf-8", errors="replace")
    try:
        text = str(json.loads(text)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        text = text or "empty response"
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]} ..."
