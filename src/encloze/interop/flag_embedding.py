"""Replacements for FlagEmbedding's RetroMAE classes: in its scripts, only the import line has to be changed.

``RetroMAEForPretraining``, ``RetroMAECollator`` and ``ModelArguments`` have the names, signatures and weight names of
FlagEmbedding's research/baai_general_embedding/retromae_pretrain. The loss is that of objectives/retromae.py.

Differences from FlagEmbedding: the collator's default masking rates are 0.30 and 0.50, the rates of the paper
(FlagEmbedding's are 0.15 and 0.15). A separate attention mask is drawn for each position of the decoder. Whole words
are recognized for any fast tokenizer. Long texts are masked at the same rate as short texts. ``from_pretrained``
restores the decoder that ``save_pretrained`` wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.backbones.hf.forward import enable_activation_checkpointing
from encloze.errors import DataError, EnclozeError
from encloze.interop.flag_embedding_weights import WEIGHTS_FILE, load_decoder, read_decoder
from encloze.models.layers.cross_entropy import chunked_cross_entropy, select_labeled
from encloze.models.layers.decoders import DecoderEmbeddings, DecoderLayer, replace_first_token
from encloze.models.layers.masking import IGNORE_INDEX, TokenBatch, enhanced_decoding_mask, mask_whole_words
from encloze.storage.model_folders import ENCODER_FOLDER, locate
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import pad_texts


@dataclass
class ModelArguments:
    """Command-line arguments of FlagEmbedding's scripts that select the initial model."""

    model_name_or_path: str | None = "bert-base-uncased"
    config_name: str | None = None


@dataclass
class RetroMAECollator:
    """Tokenize, mask and pad texts: compute the six input tensors of ``RetroMAEForPretraining.forward``.

    Masks are drawn from torch's global generator: ``torch.manual_seed`` makes them reproducible, and each worker of
    a DataLoader draws different masks.

    Example:
        >>> collate = RetroMAECollator(transformers.AutoTokenizer.from_pretrained("google-bert/bert-base-uncased"))
        >>> batch = collate(["A river flows to the sea."])
    """

    tokenizer: Any
    """A fast tokenizer of transformers."""
    max_seq_length: int = 512
    """Maximum length of a text in tokens, including the two special tokens; longer texts are truncated."""
    encoder_mlm_probability: float = 0.30
    """Fraction of the tokens that are masked in the encoder's input. Whole words are masked."""
    decoder_mlm_probability: float = 0.50
    """Fraction of the tokens that a position of the decoder cannot attend to. Whole words are masked."""

    def __post_init__(self) -> None:
        for name in ("encoder_mlm_probability", "decoder_mlm_probability"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        if self.max_seq_length < 3:
            raise ValueError(f"max_seq_length must be 3 or more, not {self.max_seq_length}")
        is_own = isinstance(self.tokenizer, Tokenizer)
        self._tokenizer = self.tokenizer if is_own else Tokenizer.from_transformers(self.tokenizer)
        self._mask_id = self._tokenizer.special_id("mask")

    def __call__(self, examples: Sequence[str]) -> dict[str, Tensor]:
        """Tokenize and mask texts.

        Args:
            examples: One or more texts.

        Returns:
            int64 tensors of shape batch x length; ``decoder_attention_mask`` is batch x length x length.

        Raises:
            DataError: If ``examples`` is not a list of texts.
        """
        _check_texts(examples)
        tokenizer = self._tokenizer
        padded = pad_texts(tokenizer.encode(list(examples)), tokenizer, self.max_seq_length)
        ids, attention_mask, word_ids = (
            torch.from_numpy(array) for array in (padded.ids, padded.attention_mask, padded.word_ids)
        )
        seed = int(torch.randint(2**62, ()))
        numbers = torch.arange(len(ids))
        batch = TokenBatch(ids, attention_mask, word_ids, numbers, numbers, seed)
        masked = mask_whole_words(batch, self.encoder_mlm_probability, self._mask_id, tokenizer.vocab_size)
        return {
            "encoder_input_ids": masked.ids,
            "encoder_attention_mask": attention_mask.long(),
            "encoder_labels": masked.labels,
            "decoder_input_ids": ids,
            "decoder_attention_mask": enhanced_decoding_mask(batch, self.decoder_mlm_probability).long(),
            "decoder_labels": torch.where(word_ids >= 0, ids, IGNORE_INDEX),
        }


class RetroMAEForPretraining(nn.Module):
    """RetroMAE with a transformers model as encoder. FlagEmbedding has a class with the same name and signatures.

    Args:
        bert: A ForMaskedLM model of transformers, of any architecture that encloze supports.
        model_args: Stored as an attribute, but not used.

    Raises:
        CheckpointError: If the model has no usable head for masked language modeling.

    Example:
        >>> model = RetroMAEForPretraining.from_pretrained(ModelArguments(), "google-bert/bert-base-uncased")
        >>> collate = RetroMAECollator(transformers.AutoTokenizer.from_pretrained("google-bert/bert-base-uncased"))
        >>> (loss,) = model(**collate(["A river flows to the sea."]))
    """

    def __init__(self, bert: Any, model_args: ModelArguments | None = None) -> None:
        super().__init__()
        self.lm, self.model_args = bert, model_args
        self._backbone = (Backbone.from_model(bert),)  # in a tuple, so that its weights are saved under lm only
        self.c_head = DecoderLayer(self.backbone.layer_config)
        self.embeddings = DecoderEmbeddings(self.backbone)  # no weights if the encoder has position embeddings

    @property
    def backbone(self) -> Backbone:
        """The encoder as a ``Backbone``, the common interface of all encoders in encloze."""
        return self._backbone[0]

    def gradient_checkpointing_enable(self, *_: Any, **__: Any) -> None:
        """Recompute activations in the backward pass to save memory; results do not change. Arguments are ignored."""
        self.backbone.enable_gradient_checkpointing()
        enable_activation_checkpointing(self.c_head)

    activation_checkpointing_enable = gradient_checkpointing_enable  # its name since transformers 5

    def _replicate_for_data_parallel(self) -> Any:  # called by torch; replicas have no trainable parameters
        raise EnclozeError(
            "RetroMAEForPretraining does not support nn.DataParallel, which Trainer uses if it finds several GPUs. "
            "Start one process for each GPU: torchrun --nproc_per_node GPUS script.py"
        )

    def forward(
        self,
        encoder_input_ids: Tensor,
        encoder_attention_mask: Tensor,
        encoder_labels: Tensor,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor,
        decoder_labels: Tensor,
    ) -> tuple[Tensor]:
        """Compute the loss: mean cross-entropy of the encoder labels plus mean cross-entropy of the decoder labels.

        Args:
            encoder_input_ids: Masked token ids, batch x length.
            encoder_attention_mask: 1 for tokens and 0 for padding, batch x length.
            encoder_labels: Ids of masked tokens, -100 at all other positions, batch x length.
            decoder_input_ids: Token ids, batch x length.
            decoder_attention_mask: 1 where a position (second dimension) attends to a token (third dimension), else 0;
                batch x length x length.
            decoder_labels: Token ids to predict, -100 at all other positions, batch x length.

        Returns:
            A tuple with the loss, a float32 scalar.
        """
        backbone = self.backbone
        hidden = backbone.encode(encoder_input_ids, encoder_attention_mask.bool())
        mask, first = decoder_attention_mask.bool(), torch.arange(decoder_attention_mask.shape[2]) == 0
        mask = mask | (~mask.any(dim=2, keepdim=True) & first.to(mask.device))  # softmax needs at least one key
        queries = self.embeddings.embed_queries(backbone, hidden[:, 0], decoder_input_ids.shape[1], "normalized")
        context = replace_first_token(self.embeddings.embed_tokens(backbone, decoder_input_ids), hidden[:, 0])
        decoded = self.c_head(queries, context, mask)
        loss = hidden.new_zeros((), dtype=torch.float32)
        for states, labels in ((hidden, encoder_labels), (decoded, decoder_labels)):
            total, _ = chunked_cross_entropy(*select_labeled(states, labels), backbone.mlm_head())
            loss = loss + total / (labels != IGNORE_INDEX).sum().clamp(min=1)
        return (loss,)

    def save_pretrained(self, output_dir: str | Path) -> None:
        """Write the encoder to ``encoder_model/`` in the layout of transformers, and all weights to pytorch_model.bin.

        Args:
            output_dir: The folder to write; it may exist.
        """
        folder = Path(output_dir)
        (folder / ENCODER_FOLDER).mkdir(parents=True, exist_ok=True)
        self.backbone.save(folder / ENCODER_FOLDER)
        partial = folder / f".{WEIGHTS_FILE}"
        torch.save(self.state_dict(), partial)
        partial.replace(folder / WEIGHTS_FILE)

    @classmethod
    def from_pretrained(
        cls, model_args: ModelArguments | None, folder: str | Path, *others: Any, **options: Any
    ) -> RetroMAEForPretraining:
        """Load an encoder and its decoder. Without a decoder in the folder, a new one is initialized, with a note.

        Args:
            model_args: Stored as an attribute.
            folder: A model folder written by FlagEmbedding or encloze, the folder of any ForMaskedLM model, or an id on
                the Hugging Face hub.
            others: Further positional arguments, which are ignored with a warning.
            options: Further keyword arguments, which are ignored with a warning. FlagEmbedding passes them to
                transformers.

        Returns:
            The model.

        Raises:
            CheckpointError: If the folder cannot be loaded, or if its pytorch_model.bin contains other objects in
                addition to weights.
        """
        if others or options:
            ignored = ", ".join([*map(repr, others), *options])
            progress.warn(
                f"from_pretrained ignores all arguments after the folder: {ignored}. To use them, load the model with "
                "AutoModelForMaskedLM and pass it to RetroMAEForPretraining(model, model_args)"
            )
        inner = Path(folder) / ENCODER_FOLDER
        located = locate(inner).parent if inner.is_dir() else locate(folder)
        backbone = Backbone.load(inner if inner.is_dir() else located, require_mlm_head=True)
        model = cls(backbone.model, model_args)
        weights = read_decoder(located)
        if weights is None:
            progress.note(f"{located} has no compatible decoder: a new one is initialized randomly")
        else:
            load_decoder(model, weights, located)
        return model


def _check_texts(examples: Any) -> None:
    """Raise DataError unless ``examples`` is a list of one or more strings."""
    invalid = [examples] if isinstance(examples, str) else [e for e in examples if not isinstance(e, str)]
    if len(examples) and not invalid:
        return
    kind = type(invalid[0]).__name__ if invalid else "nothing"
    keys = f" with {', '.join(map(repr, invalid[0]))}" if invalid and isinstance(invalid[0], dict) else ""
    raise DataError(
        f"RetroMAECollator expects a list of one or more texts, found {kind}{keys}. Give it a dataset whose items are "
        "texts, such as [row['text'] for row in rows]"
    )
