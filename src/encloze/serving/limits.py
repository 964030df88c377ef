"""What a request to the service may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from encloze.settings import NonNegativeInt, PositiveFloat, PositiveInt, Range, Settings


@dataclass(frozen=True)
class Limits(Settings):
    """What a request may cost."""

    body_bytes: PositiveInt = 2**20
    """Maximum size of the body of a request, in bytes."""
    texts: PositiveInt = 256
    """Maximum number of texts of a request for embeddings or re-ranking."""
    waiting: PositiveInt = 512
    """Maximum number of queries or texts that wait. Further requests get the status 429."""
    seconds: PositiveFloat = 30.0
    """Time after which a request is answered with the status 504."""
    requests_per_second: Annotated[float, Range(ge=0)] = 0.0
    """Rate of each API key; 0 for no limit."""
    cached_results: NonNegativeInt = 1000
    """Number of results of searches that are kept in memory, for queries that are sent again; 0 for none."""
