"""SparseEncoder: the term weights of an encoder, as a folder that sentence-transformers loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from encloze.exports._sentence_transformers import EncoderFolder


@dataclass(frozen=True)
class SparseEncoder(EncoderFolder, name="sparse_encoder"):
    """A folder that the class SparseEncoder of sentence-transformers loads.

    It has the pooling and the prompts of the model. Models whose sparse head has other settings cannot be exported,
    such as a number of term weights that are kept, a logit bias or bags of words as queries. Of a model with embeddings
    and term weights, it has the term weights alone.
    """

    view: ClassVar[Literal["dense", "sparse"]] = "sparse"
    class_name: ClassVar[str] = "SparseEncoder"
    oldest: ClassVar[int] = 5
