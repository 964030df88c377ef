"""A bi-encoder: an encoder that represents queries and documents independently of each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.data.records import Representation
from encloze.errors import CheckpointError
from encloze.models.checkpoint import HEADS, load_checkpoint, model_fingerprint, read_head_weights
from encloze.models.device import batch_tokens, few_threads, resolve_device
from encloze.models.encoder_config import CONFIG_FILE, EncoderConfig
from encloze.models.heads.base import HeadInput, Side, TextBatch
from encloze.models.precision import DTYPES, Precision, autocast, on_processor, resolve_precision
from encloze.models.sentence_transformers import write_sentence_transformers_files
from encloze.similarity import Similarity
from encloze.storage.model_folders import locate
from encloze.text.encoding import UNITS, TextKind, concatenated, count_tokens, encode_texts
from encloze.text.tokenizer import Encoded, Tokenizer
from encloze.text.tokens import own_tokens, pad_texts

_SIDES: tuple[Side, ...] = get_args(Side)


class BiEncoder(nn.Module):
    """Bi-encoder: a transformer encoder (the backbone) with a tokenizer and one or two heads.

    A dense head computes an embedding of a text, a sparse head a weight for each token of the vocabulary. Both heads
    use the same forward pass of the encoder.

    Args:
        backbone: The encoder.
        tokenizer: Its tokenizer.
        config: Encoding configuration: heads, prompts and length limits.
        head_weights: Weights of the heads. Those whose name or shape does not match a head are skipped, and a note
            lists the weights that are missing and are therefore initialized randomly. None: all heads are initialized
            randomly.

    Raises:
        CheckpointError: If a length limit exceeds that of the encoder, or a sparse head needs an MLM head that the
            encoder lacks.

    Example:
        >>> encoder = BiEncoder.load("minilm", device="cpu")
        >>> queries = encoder.encode_queries(["where do rivers end"])
        >>> documents = encoder.encode_documents(["Rivers flow into the sea.", "A violin has four strings."])
        >>> encoder.similarity(queries, documents).shape
        (1, 2)
    """

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Tokenizer,
        config: EncoderConfig,
        head_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        longest = max(config.max_query_tokens, config.max_document_tokens)
        if longest > backbone.max_tokens:
            raise CheckpointError(
                f"a length limit of {longest} tokens exceeds the encoder's maximum of {backbone.max_tokens}. Lower "
                "max_query_tokens and max_document_tokens"
            )
        if config.needs_mlm_head and (reason := backbone.missing_mlm_head_reason()):
            raise CheckpointError(
                f"a sparse head needs the encoder's head for masked language modeling, but {reason}. Use a dense head, "
                "or an encoder with such a head"
            )
        self.backbone, self.tokenizer, self.config = backbone, tokenizer, config
        modules = {head.name: head.build_module(backbone) for head in config.heads}
        self.head_modules = nn.ModuleDict({name: module for name, module in modules.items() if module is not None})
        missing = _load_matching(self.head_modules, head_weights or {})
        if head_weights is not None and missing:
            progress.note(f"No matching head weights in the checkpoint; initialized randomly: {', '.join(missing)}")
        self.name, self.fingerprint = "", ""
        self.precision: Precision = "auto"
        self._prompt_ids = {side: tokenizer.encode([config.prompt(side)])[0].ids for side in _SIDES}
        self._warned = set[str]()  # score() is called for many small batches and warns once

    @classmethod
    def load(cls, name: str, *, precision: str = "auto", device: str | torch.device | None = None) -> BiEncoder:
        """Load a bi-encoder.

        Args:
            name: A model folder (of encloze, sentence-transformers or transformers), an id on the Hugging Face hub, or
                ``minilm``.
            precision: Precision of matrix multiplications: ``auto``, ``float32`` or ``bfloat16``.
            device: A device of torch. None: the first GPU, else the CPU.

        Returns:
            The encoder in evaluation mode.

        Raises:
            CheckpointError: If there is no such model, or it is damaged or incomplete.
            RecipeError: If the device is unknown or not available.
        """
        target, folder = resolve_device(device), locate(name)
        backbone, tokenizer, config = load_checkpoint(folder, require_mlm_head=False)  # an existing MLM head is loaded
        encoder, saved = cls(backbone, tokenizer, config).to(target), read_head_weights(folder)
        if missing := _load_matching(encoder.head_modules, saved):
            raise CheckpointError(
                f"{folder}: {HEADS} is missing or lacks weights of the heads ({', '.join(missing)}). Restore the file"
            )
        if superfluous := sorted(saved.keys() - encoder.head_modules.state_dict().keys()):
            raise CheckpointError(
                f"{folder}: {HEADS} has weights that no head of {CONFIG_FILE} has ({', '.join(superfluous[:3])}). "
                "Restore both files from the same version of the model"
            )
        encoder.name, encoder.fingerprint = str(name), model_fingerprint(folder, config.plain(), tokenizer)
        encoder.precision = precision  # type: ignore[assignment]
        return encoder.eval()

    @property
    def device(self) -> torch.device:
        """Device on which the model's weights are."""
        return next(self.parameters()).device

    @property
    def arithmetic(self) -> str:
        """Precision of matrix multiplications, and the device that computes them, such as ``float32 on cpu``."""
        return f"{resolve_precision(self.precision, self.device)} on {self.device.type}"

    @property
    def views(self) -> dict[str, int]:
        """Number of dimensions of each representation (``dense``, ``sparse``) that the model computes."""
        dense, vocabulary = self.config.dense, int(self.backbone.config.vocab_size)
        dims = {"dense": (dense.dim if dense else None) or self.backbone.hidden_size, "sparse": vocabulary}
        return {head.view: dims[head.view] for head in self.config.heads}

    @property
    def similarity(self) -> Similarity:
        """Similarity function: the weighted sum of the inner products of dense and of sparse representations."""
        return self.config.similarity

    def collate(self, encoded: list[Encoded], side: Side, device: torch.device) -> TextBatch:
        """Pad tokenized texts to a batch.

        Args:
            encoded: Tokenized texts, each with the prompt at its beginning and without special tokens.
            side: Whether the texts are queries or documents.
            device: The device of the batch.

        Returns:
            The texts with special tokens and padding, truncated to ``max_query_tokens`` or ``max_document_tokens``.
        """
        padded = pad_texts(encoded, self.tokenizer, self.config.max_tokens(side))
        start = len(self.tokenizer.template.before)
        return TextBatch.from_padded(padded, device, own_tokens(padded, self._prompt_ids[side], start))

    def forward(self, texts: TextBatch, side: Side) -> Representation:
        """Compute the representations of a batch as tensors.

        ``dense`` has the shape batch x dim, ``sparse`` batch x vocabulary. ``dense`` is None if the model has no dense
        head, ``sparse`` if it has no sparse head.
        """
        is_encoded = self._needs_hidden_states(side)
        hidden = self.backbone.encode(texts.ids, texts.attention_mask) if is_encoded else None
        return self._represent(HeadInput(texts, hidden), side)

    def _needs_hidden_states(self, side: Side) -> bool:
        return any(head.needs_hidden_states(side) for head in self.config.heads)

    def _represent(self, inputs: HeadInput, side: Side) -> Representation:
        modules = dict(self.head_modules.items())
        return Representation(
            **{
                head.view: head.represent(inputs, side, self.backbone, modules.get(head.name))
                for head in self.config.heads
            }
        )

    def prune(self, representation: Representation, side: Side, *, training: bool) -> Representation:
        """Replace values that must not contribute to scores by 0. Each head chooses these values.

        For example, a sparse head may keep only the k highest term weights of each text.
        """
        views = {h.view: h.prune(getattr(representation, h.view), side, training=training) for h in self.config.heads}
        return representation._replace(**views)

    def encode_queries(self, texts: Sequence[str]) -> Representation:
        """Encode queries. The n-th row of the result represents the n-th query.

        Args:
            texts: The queries, without prompt.

        Returns:
            Embeddings in ``dense`` (float32 array, queries x dim; None without a dense head), and term weights in
            ``sparse`` (float32 CSR matrix, queries x vocabulary; None without a sparse head).

        Raises:
            CheckpointError: If the model's outputs contain NaN or infinite values.
        """
        return self._concatenate(self._encode(texts, len(texts), "query"))

    def encode_documents(self, texts: Iterable[str], count: int | None = None) -> Representation:
        """Encode documents. The n-th row of the result represents the n-th document.

        Args:
            texts: The documents, without prompt.
            count: Number of documents, for the progress bar. By default the documents are counted, which reads an
                iterator into memory.

        Returns:
            Embeddings and term weights as in ``encode_queries``, with one row per document.
        """
        if count is None:
            texts = list(texts)
            count = len(texts)
        return self._concatenate(self.documents_in_parts(texts, count))

    def documents_in_parts(self, texts: Iterable[str], count: int) -> Iterator[Representation]:
        """Encode documents; yield the representations of a few thousand documents at a time to limit memory use."""
        return self._encode(texts, count, "document")

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the similarity of the query and document of each pair. Each distinct text is encoded once.

        Args:
            pairs: Pairs of a query and a document.

        Returns:
            float32, one score for each pair.
        """
        texts = [list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1)]
        queries, documents = (
            self._concatenate(self._encode(of_side, len(of_side), side, self._warned))
            for of_side, side in zip(texts, _SIDES, strict=True)
        )
        numbers = [{text: number for number, text in enumerate(of_side)} for of_side in texts]
        rows, columns = (np.array([numbers[side][pair[side]] for pair in pairs], np.int64) for side in (0, 1))
        return self.similarity.pairwise(queries, documents, rows, columns)

    def save(self, folder: Path) -> None:
        """Write a model folder that transformers and ``load`` read; the folder must exist.

        sentence-transformers can also load the folder if the model has one head (see ``is_expressible``).
        """
        self.backbone.save(folder)
        self.tokenizer.save(folder, self.backbone.max_tokens, with_token_types=self.backbone.has_token_types)
        self.config.write(folder)
        weights = {name: value.contiguous() for name, value in self.head_modules.state_dict().items()}
        write_sentence_transformers_files(folder, self.config, self.backbone.hidden_size, weights)
        if weights:
            save_file(weights, str(folder / HEADS))

    def count_tokens(self, texts: Sequence[str], side: Side) -> int:
        """Return how many tokens of queries or of documents are read, with prompt and special tokens."""
        return count_tokens(texts, self._kind(side), self.tokenizer)

    def _kind(self, side: Side) -> TextKind:
        limit_name = f"max_{side}_tokens of {self.name or 'the model'}"
        return TextKind(UNITS[side], self.config.prompt(side), self.config.max_tokens(side), limit_name)

    def _concatenate(self, parts: Iterable[Representation]) -> Representation:
        return concatenated(parts, self.views)

    def _encode(
        self, texts: Iterable[str], count: int, side: Side, warned: set[str] | None = None
    ) -> Iterator[Representation]:
        """Encode a few thousand texts at a time (see ``encode_texts``)."""
        if any(module.training for module in self.modules()):
            self.eval()  # takes nearly a millisecond
        return encode_texts(
            texts,
            count,
            self._kind(side),
            self.tokenizer,
            self.views,
            lambda batch: _on_cpu(self._encode_batch(batch, side)),
            batch_tokens=batch_tokens(self.device),
            processor=on_processor(self.device),
            warned=warned,
        )

    @torch.inference_mode()
    def _encode_batch(self, texts: list[Encoded], side: Side) -> Representation:
        batch, hidden = self.collate(texts, side, self.device), None
        dtype = DTYPES[resolve_precision(self.precision, self.device)]
        with few_threads(batch.ids.numel(), self.device):
            if self._needs_hidden_states(side):
                hidden = self.backbone.encode_for_inference(batch.ids, batch.attention_mask, dtype)
            with autocast(self.precision, self.device):
                representation = self._represent(HeadInput(batch, hidden), side)
        if not all(view.isfinite().all() for view in representation if view is not None):
            raise CheckpointError(
                f"{self.name or 'the model'} produces NaN or infinite values: its weights are damaged. Train it again, "
                "or restore an earlier version"
            )
        return self.prune(representation, side, training=False)


def _on_cpu(vectors: Representation) -> Representation:
    """Return the vectors of a batch in float32, for search: embeddings as an array, term weights as a CSR matrix."""
    dense = None if vectors.dense is None else vectors.dense.float().cpu().numpy()
    if vectors.sparse is None:
        return Representation(dense)
    rows, columns = vectors.sparse.nonzero(as_tuple=True)
    weights = vectors.sparse[rows, columns].float().cpu().numpy()
    places = rows.cpu().numpy(), columns.int().cpu().numpy()
    return Representation(dense, csr_matrix((weights, places), tuple(vectors.sparse.shape)))


def _load_matching(modules: nn.ModuleDict, weights: Mapping[str, Tensor]) -> list[str]:
    """Load weights with matching name and shape; return the names of the weights not loaded."""
    own = modules.state_dict()
    matching = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    modules.load_state_dict(matching, strict=False)
    return [name for name in own if name not in matching]
