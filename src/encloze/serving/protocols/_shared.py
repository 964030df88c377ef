"""What the protocols have in common: the documented error responses, and limits of texts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from encloze.serving.errors import InvalidError

MAX_CHARACTERS = 100_000
Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
"""A text of a request. Models read its beginning, up to their length limit."""

_MEANINGS = {
    400: "The request is malformed.",
    401: "The API key is missing or wrong.",
    403: "The API key, or the host name, does not allow this.",
    404: "There is no such collection, document or model.",
    408: "The body did not arrive in time.",
    409: "The request contradicts what is stored.",
    413: "The body, or the number of texts, is too large.",
    415: "The body is not JSON.",
    422: "A field is missing or has a wrong value.",
    429: "Too many requests wait, or the key has used its rate; see the header Retry-After.",
    500: "The service failed.",
    504: "The request was not processed in time.",
}


class Body(BaseModel):
    """Base class of requests. Fields that are not known are ignored, as other services do."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=False)


def error_responses(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of all error responses, whose body is ``model``."""
    return {status: {"model": model, "description": text} for status, text in _MEANINGS.items()}


def check_texts(texts: list[str], limit: int) -> None:
    """Raise InvalidError if there are no texts, or more than ``limit``."""
    if not texts:
        raise InvalidError("give at least one text")
    if len(texts) > limit:
        raise InvalidError(f"{len(texts)} texts, and a request may have {limit}. Send several requests")
