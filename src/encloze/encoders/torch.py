"""The torch backend: encoders and re-rankers that run on PyTorch and transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from encloze import recipe
from encloze.data.records import Representation
from encloze.data.text_arguments import text_pairs
from encloze.encoders.base import Encoder, EncoderBackend, Precision, Reranker, Scorer
from encloze.errors import importable
from encloze.similarity import Similarity
from encloze.storage.atomic import atomic_folder
from encloze.storage.names import MANIFEST, README
from encloze.text.encoding import Side

if TYPE_CHECKING:
    from encloze.models.bi_encoder import BiEncoder


class TorchEncoder(Encoder):
    """A bi-encoder that runs on PyTorch. Its attribute ``model`` is the PyTorch module."""

    def __init__(self, model: BiEncoder) -> None:
        self.model = model

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    @property
    def arithmetic(self) -> str:
        return self.model.arithmetic

    @property
    def views(self) -> dict[str, int]:
        return self.model.views

    @property
    def similarity(self) -> Similarity:
        return self.model.similarity

    @property
    def device(self) -> str:
        """Device of the model's weights, such as ``cpu`` or ``cuda:0``."""
        return str(next(self.model.parameters()).device)

    def represent_queries(self, texts: Sequence[str]) -> Representation:
        return self.model.encode_queries(texts)

    def represent_documents(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        return self.model.documents_in_parts(texts, count)

    def term_names(self, terms: Sequence[int] | np.ndarray) -> list[str]:
        return [self.model.tokenizer.backend.id_to_token(int(term)) or str(term) for term in terms]

    def count_tokens(self, texts: Sequence[str], side: Side) -> int:
        return self.model.count_tokens(texts, side)

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the similarity of the query and the document of each pair (float32, one per pair).

        Raises RecipeError if ``pairs`` is not a list of pairs of strings.
        """
        return self.model.score(text_pairs(pairs, "score", "pairs"))

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> None:
        output: Path = recipe.coerce(Path, folder, source="save_pretrained", name="folder")
        with atomic_folder(output, overwrite=overwrite) as staging:
            self.model.save(staging)
            (staging / README).write_text(self._model_card(staging, Path(folder).name), encoding="utf-8")

    def _model_card(self, folder: Path, name: str) -> str:
        """Return the model card of the encoder: the one in the folder that the encoder was loaded from, or a new one.

        It is new if encloze did not write that folder, or if the encoder was loaded from the hub.
        """
        from encloze.models.card import model_card

        source = Path(self.name)
        if (source / MANIFEST).is_file() and (source / README).is_file():
            return (source / README).read_text(encoding="utf-8")
        return model_card(folder, name, f"loaded from {self.name} and saved by encloze", base_models=[self.name])


@dataclass(frozen=True)
class Torch(EncoderBackend, name="torch"):
    """Backend for transformers models on PyTorch."""

    def load(self, name: str, *, device: str | None, precision: Precision) -> Encoder:
        _require_torch()
        from encloze.models.bi_encoder import BiEncoder

        return TorchEncoder(BiEncoder.load(name, precision=precision, device=device))

    def load_scorer(self, name: str, *, device: str | None, precision: Precision) -> Scorer:
        _require_torch()
        from encloze.models.cross_encoder import CrossEncoder, is_cross_encoder

        if is_cross_encoder(name):
            return cast(Scorer, CrossEncoder.load(name, precision=precision, device=device))
        return cast(Scorer, self.load(name, device=device, precision=precision))

    def load_reranker(self, name: str, *, device: str | None, precision: Precision) -> Reranker:
        _require_torch()
        from encloze.models.cross_encoder import CrossEncoder

        return cast(Reranker, CrossEncoder.from_pretrained(name, precision=precision, device=device))


def _require_torch() -> None:
    importable("torch", "train")
    importable("transformers", "train")
