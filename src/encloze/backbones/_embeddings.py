"""Compute the input of the first layer of a transformers encoder. Shapes: batch, length, hidden (size)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from encloze.backbones.hf.limits import first_position

# Modules of ELECTRA and ConvBERT, DeBERTa, ALBERT and RemBERT that project narrow embeddings to the hidden size.
_PROJECTIONS = ("embeddings_project", "embeddings.embed_proj", "encoder.embedding_hidden_mapping_in")


def embed_tokens(encoder: Any, ids: Tensor) -> Tensor:
    """Return the output of the embedding module, batch x length x hidden, for ids batch x length."""
    embeddings = getattr(encoder, "embeddings", encoder.get_input_embeddings())
    return project_embeddings(encoder, embeddings(ids))


def embed_vectors(encoder: Any, vectors: Tensor) -> Tensor:
    """Return the output of the embedding module for vectors in place of token embeddings (batch x length x hidden)."""
    embedded: Tensor = encoder.embeddings(input_ids=None, inputs_embeds=vectors)
    return embedded


def position_table(encoder: Any, length: int) -> Tensor:
    """Return the position embeddings of the first ``length`` positions: length x hidden."""
    table: Tensor = encoder.embeddings.position_embeddings.weight
    first = first_position(encoder)
    return table[first : first + length]


def project_embeddings(encoder: Any, vectors: Tensor) -> Tensor:
    """Project vectors of the embedding size (last dimension) to the hidden size; a no-op if both are equal."""
    if vectors.shape[-1] == encoder.config.hidden_size:
        return vectors
    modules = dict(encoder.named_modules())
    for name in _PROJECTIONS:
        if name in modules:
            projected: Tensor = modules[name](vectors)
            return projected
    raise NotImplementedError(
        f"encloze does not know the module by which {encoder.config.model_type!r} encoders project embeddings to the "
        "hidden size"
    )


def first_layer_input(encoder: Any, ids: Tensor) -> Tensor:
    """Return the input of the first layer from a complete forward pass: correct for every encoder, but slow."""
    output = encoder(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    states: Tensor = output.hidden_states[0]
    return states
