"""What the formats of sentence-transformers have in common: a folder that a class of that library loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from encloze.backbones.hf.loading import loading
from encloze.encoders.sentence_transformers import import_library
from encloze.errors import CheckpointError
from encloze.exports._report import EXPORT_REPORT
from encloze.exports.base import Bounds, ExportFormat
from encloze.models.bi_encoder import BiEncoder
from encloze.models.card import PipelineTag, model_card
from encloze.models.cross_encoder import CrossEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads._term_head import TermHead
from encloze.models.sentence_transformers import unsupported_settings
from encloze.storage.cache import temporary_folder


@dataclass(frozen=True)
class LibraryFolder(ExportFormat):
    """Base class of the formats that sentence-transformers loads."""

    backend: ClassVar[str] = "sentence_transformers"

    @property
    def versions(self) -> str:
        """Versions of sentence-transformers that load the folder, such as ``4 to 6``."""
        raise NotImplementedError(type(self).__name__)

    def model_card(self, folder: Path, name: str, model: str, *, is_reranker: bool) -> str:
        """Return the model card (see ``ExportFormat.model_card``)."""
        tag: PipelineTag = "text-ranking" if is_reranker else "sentence-similarity"
        origin = f"exported from {Path(model).name} by encloze ({self.summary()})"
        summary = f"{origin} for versions {self.versions} of sentence-transformers"
        files = {f"`{EXPORT_REPORT}`": "the certificate"}
        return model_card(folder, name, summary, base_models=[model], pipeline_tag=tag, extra_files=files)


@dataclass(frozen=True)
class EncoderFolder(LibraryFolder):
    """Base class of the formats of encoders, of which one view is exported."""

    view: ClassVar[Literal["dense", "sparse"]]
    """The kind of vectors that the format has."""
    class_name: ClassVar[str]
    """The class of the library that loads the folder."""
    oldest: ClassVar[int]
    """The first version of the library that loads the old layout."""

    layout: Literal["old", "new"] = "old"
    """old: the files of sentence-transformers 2 to 5 (for sparse_encoder, of version 5), which version 6 and servers
    such as text-embeddings-inference and vLLM load, too. They have one length limit, that of documents. new: the files
    that version 6 saves, which only it loads. They have a length limit for queries and one for documents."""

    @property
    def bounds(self) -> Bounds:
        """The bounds that the export of an encoder must keep."""
        return Bounds(1e-4, 0.99999)

    @property
    def versions(self) -> str:
        """Versions of sentence-transformers that load the folder."""
        return "6 and newer" if self.layout == "new" else f"{self.oldest} to 6"

    def expressible(self, model: BiEncoder) -> BiEncoder:
        """Return the encoder with the head of the format's view alone, and the length limits of the layout."""
        head = next((head for head in model.config.heads if head.view == self.view), None)
        if head is None:
            raise CheckpointError(
                f"{model.name} has no {self.view} head, so it cannot be exported as {self.name}. Choose another format"
            )
        head = replace(head, weight=1.0)
        if isinstance(head, TermHead):
            head = replace(head, top_k_in_training=False)
        if unsupported := unsupported_settings(head):
            listed = ", ".join(f"{name}: {value}" for name, value in unsupported.items())
            raise CheckpointError(
                f"{model.name} cannot be exported as {self.name}: sentence-transformers has none of these settings of "
                f"its {self.view} head: {listed}. The format onnx has all of them"
            )
        config = replace(model.config, heads=(head,), cosine=model.config.cosine and self.view == "dense")
        if self.layout == "old":
            config = replace(config, max_query_tokens=config.max_document_tokens)
        part = BiEncoder(model.backbone, model.tokenizer, config, model.head_modules.state_dict())
        part.name, part.precision = model.name, model.precision
        return part.eval()

    def limitations(self, model: BiEncoder | CrossEncoder) -> list[str]:
        """Return what an export lacks of an encoder (see ``ExportFormat.limitations``)."""
        assert isinstance(model, BiEncoder)
        config, notes = model.config, list[str]()
        others = [head.view for head in config.heads if head.view != self.view]
        if others:
            notes.append(
                f"the {others[0]} vectors of the model; only the {self.view} vectors are exported and compared"
            )
        elif config.heads[0].weight != 1:
            notes.append(f"the weight {config.heads[0].weight:g} by which the model multiplies scores")
        if self.layout == "old" and _has_two_limits(config):
            notes.append(
                f"the length limit of queries: queries are truncated at {config.max_document_tokens} tokens, the limit "
                f"of documents, and not at {config.max_query_tokens}. Both sides were compared with this limit; the "
                "layout new has both limits"
            )
        return notes

    def write(self, model: BiEncoder, folder: Path) -> None:
        """Write an encoder into an existing folder (see ``ExportFormat.write``)."""
        library = import_library()
        if self.layout == "old":
            model.save(folder)
            return
        with temporary_folder() as old:
            model.save(old)
            with loading(old, f"a {self.class_name} of sentence-transformers"):
                loaded = getattr(library, self.class_name)(str(old), device="cpu", local_files_only=True)
                if _has_two_limits(model.config):
                    loaded[0].query_length = model.config.max_query_tokens
                    loaded[0].document_length = model.config.max_document_tokens
                loaded.save_pretrained(str(folder), create_model_card=False)


def _has_two_limits(config: EncoderConfig) -> bool:
    return config.max_query_tokens != config.max_document_tokens
