"""SentenceTransformer: the embeddings of an encoder, as a folder that sentence-transformers loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from encloze.exports._sentence_transformers import EncoderFolder


@dataclass(frozen=True)
class SentenceTransformers(EncoderFolder, name="sentence_transformers"):
    """A folder that the class SentenceTransformer of sentence-transformers loads.

    It has the pooling, projection, normalization, prompts and similarity function of the model. Of a model with
    embeddings and term weights, it has the embeddings alone.
    """

    view: ClassVar[Literal["dense", "sparse"]] = "dense"
    class_name: ClassVar[str] = "SentenceTransformer"
    oldest: ClassVar[int] = 2
