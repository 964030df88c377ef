"""README.md of a model folder: training, usage, and the metadata that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from encloze.errors import EnclozeError
from encloze.escapes import markdown
from encloze.models.encoder_config import CONFIG_FILE, states_pooling
from encloze.models.folder_fields import MODULES_FILE, SPLADE_FILE
from encloze.reporting.model_cards import split_header
from encloze.storage.model_folders import MINILM, locate
from encloze.storage.names import MANIFEST, README

PipelineTag = Literal[
    "feature-extraction", "sentence-similarity", "text-classification", "text-ranking", "token-classification"
]
"""Tasks of models as the Hugging Face hub names them."""
MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_FILES = {
    "`recipe.yaml`": "all settings of the command; `encloze rerun` runs it again",
    "`inputs.json`, `versions.json`": "hashes of the inputs, and versions of the packages",
}
_ENCODER_FILE = {f"`{CONFIG_FILE}`": "how a text becomes an embedding: pooling, normalization, prompts, length limits"}

_ENCLOZE_ENCODER = """from encloze import Encoder

encoder = Encoder.from_pretrained("{name}")
queries = encoder.encode_queries(["a question"])
documents = encoder.encode_documents(["a text", "another text"])
encoder.similarity(queries, documents)
"""
_SENTENCE_TRANSFORMERS = """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
queries = model.encode_query(["a question"])
documents = model.encode_document(["a text", "another text"])
model.similarity(queries, documents)
"""
_SPARSE_ENCODER = _SENTENCE_TRANSFORMERS.replace("SentenceTransformer(", "SparseEncoder(").replace(
    "import SentenceTransformer", "import SparseEncoder"
)
_CROSS_ENCODER = """from sentence_transformers import CrossEncoder

model = CrossEncoder("{name}")
model.predict([("a question", "a text"), ("a question", "another text")])
"""
_PIPELINE = """from transformers import pipeline

classifier = pipeline("{task}", "{name}")
classifier("a text")
"""


@dataclass(frozen=True)
class CardMetadata:
    """Metadata in the header of a model card; fields are named as on the Hugging Face hub.

    Args:
        library_name: The library that loads the model: ``sentence-transformers`` or ``transformers``.
        pipeline_tag: The task of the model, by its name on the hub.
        base_model: Hub ids of the models from which this one was trained or merged; may be empty.
        base_model_relation: ``finetune`` or ``merge``.
        language: Codes of the model's languages, if the base model's card names them.
        license: Identifier of the model's license, if the base model's card names one.
        tags: Keywords for search on the hub.
    """

    library_name: str
    pipeline_tag: str
    base_model: tuple[str, ...] = ()
    base_model_relation: str = "finetune"
    language: tuple[str, ...] = ()
    license: str | None = None
    tags: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the YAML header as a dictionary, without fields that have no value."""
        values: dict[str, Any] = {"library_name": self.library_name, "pipeline_tag": self.pipeline_tag}
        if self.base_model:
            values["base_model"] = self.base_model[0] if len(self.base_model) == 1 else list(self.base_model)
            values["base_model_relation"] = self.base_model_relation
        if self.language:
            values["language"] = list(self.language)
        if self.license:
            values["license"] = self.license
        return {**values, "tags": list(self.tags)}


def model_card(
    folder: Path,
    name: str,
    summary: str,
    *,
    base_models: Sequence[str] = (),
    pipeline_tag: PipelineTag = "sentence-similarity",
    extra_files: Mapping[str, str] | None = None,
) -> str:
    """Return the README.md of a model folder.

    Language and license are taken from the model cards of the base models. A model trained from random weights has
    neither until its author adds them.

    Args:
        folder: The folder with the files of the model.
        name: The name of the model, used as title.
        summary: How the model was trained, such as ``"fine-tuned by encloze"``.
        base_models: Names of the models from which this one was trained or merged: hub ids, folders or ``minilm``.
        pipeline_tag: The task of the model.
        extra_files: Description of each further file to list, keyed by the file's name in Markdown, such as
            ``"`report.md`"``. Files that every model folder has are always listed.

    Returns:
        Markdown with a YAML header.

    Example:
        >>> text = model_card(Path("retriever"), "retriever", "fine-tuned by encloze", base_models=["minilm"])
    """
    metadata = card_metadata(folder, pipeline_tag, base_models)
    is_encoder = states_pooling(folder)
    files = {**(_ENCODER_FILE if (folder / CONFIG_FILE).is_file() else {}), **_FILES, **(extra_files or {})}
    header = yaml.safe_dump(metadata.to_dict(), sort_keys=False, allow_unicode=True)
    kind = {"text-ranking": "A re-ranker"}.get(pipeline_tag, "A text encoder" if is_encoder else "A classifier")
    listed = "".join(f"- {file}: {description}\n" for file, description in files.items())
    return (
        f"---\n{header}---\n\n# {markdown(name)}\n\n{kind}, {markdown(summary)}.\n\n"
        f"## Usage\n\n{_usage(name, metadata, is_encoder, _is_sparse(folder))}\n## Files\n\n{listed}"
    )


def card_metadata(folder: Path, pipeline_tag: PipelineTag, base_models: Sequence[str] = ()) -> CardMetadata:
    """Return the metadata for the model card of a model folder.

    Args:
        folder: The folder with the files of the model.
        pipeline_tag: The task of the model.
        base_models: Names of the models from which this one was trained or merged: hub ids, folders or ``minilm``.

    Returns:
        The metadata. ``library_name`` is ``sentence-transformers`` if that library computes the same scores.
    """
    is_loadable = (folder / MODULES_FILE).is_file() or pipeline_tag == "text-ranking"
    library = "sentence-transformers" if is_loadable else "transformers"
    ids, languages, licenses = [], list[str](), list[str]()
    for name in base_models:
        header = _header(name)
        ids += _ids(name, header)
        languages += _texts(header.get("language"))
        licenses.append(next(iter(_texts(header.get("license"))), ""))
    is_retriever = pipeline_tag in ("feature-extraction", "sentence-similarity", "text-ranking")
    words = [library, "encloze", *(["retrieval"] if is_retriever else [])]
    words += ["sparse-encoder"] * _is_sparse(folder)
    words += {"text-ranking": ["cross-encoder", "reranker"], "sentence-similarity": ["feature-extraction"]}.get(
        pipeline_tag, []
    )
    return CardMetadata(
        library,
        pipeline_tag,
        tuple(dict.fromkeys(ids)),
        "merge" if len(base_models) > 1 else "finetune",
        tuple(dict.fromkeys(languages)),
        licenses[0] if licenses and len(set(licenses)) == 1 and licenses[0] else None,
        tuple(words),
    )


def _is_sparse(folder: Path) -> bool:
    """Return whether sentence-transformers loads a folder as a sparse encoder."""
    return (folder / SPLADE_FILE).is_file()


def _usage(name: str, metadata: CardMetadata, is_encoder: bool, is_sparse: bool) -> str:
    """Return Python code in Markdown that loads the model, for each library that can load it."""
    snippets = []
    if metadata.pipeline_tag == "text-ranking":
        snippets.append(_CROSS_ENCODER)
    elif not is_encoder:
        snippets.append(_PIPELINE)
    else:
        if metadata.library_name == "sentence-transformers":
            snippets.append(_SPARSE_ENCODER if is_sparse else _SENTENCE_TRANSFORMERS)
        snippets.append(_ENCLOZE_ENCODER)
    return "\n".join(f"```python\n{code.format(name=name, task=metadata.pipeline_tag)}```\n" for code in snippets)


def _header(name: str) -> dict[str, Any]:
    """Return the YAML header of a base model's card; an empty mapping if the card is missing or unreadable."""
    try:
        text = (locate(name) / README).read_text(encoding="utf-8")
        return split_header(text)[0]
    except (EnclozeError, OSError, UnicodeDecodeError):  # metadata of another model is optional
        return {}


def _texts(value: Any) -> list[str]:
    """Return the texts in a field of a card's header: one text, or a list of texts. Anything else is left out."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text]


def _ids(name: str, header: Mapping[str, Any]) -> list[str]:
    """Return the hub id of a base model, or the hub ids of its base models if it is a folder that encloze wrote."""
    if Path(name).exists():
        is_own = (Path(name) / MANIFEST).is_file()
        return _texts(header.get("base_model")) if is_own else []
    if name == MINILM:
        return [MINILM_ID]
    return [name] if _HUB_ID.fullmatch(name) else []
