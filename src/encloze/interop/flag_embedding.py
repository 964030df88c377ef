"""FlagEmbedding's RetroMAE classes, so that a script written for them runs with its import line changed.

``RetroMAEForPretraining``, ``RetroMAECollator`` and ``ModelArguments`` keep the names, the calls and the weights' names
of FlagEmbedding's research/baai_general_embedding/retromae_pretrain; the mathematics is that of
``objectives/retromae.py``. Differences: the collator's default rates are the recipe's .30 and .50 (theirs are .15 and
.15 unless told), each place draws a mask of its own, words are known for any fast tokenizer, no text is masked less
because it is long, and what ``save_pretrained`` wrote ``from_pretrained`` restores, the decoder too.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from encloze import progress
from encloze.backbones.base import Backbone
from encloze.errors import CheckpointError
from encloze.models.checkpoint import DECODERS
from encloze.models.layers.cross_entropy import labelled, summed_cross_entropy
from encloze.models.layers.decoders import DecoderLayer, Places, enhanced
from encloze.models.layers.masking import IGNORED, TokenBatch, mask_words, visible_to_decoder
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import pad

_ENCODER, _WEIGHTS = "encoder_model", "pytorch_model.bin"
_ENCLOZE_DECODER = "decoder.layers.0."  # what objectives/retromae.py calls c_head


@dataclass
class ModelArguments:
    """Which model to begin with, as FlagEmbedding's scripts parse it."""

    model_name_or_path: str | None = "bert-base-uncased"
    config_name: str | None = None
    tokenizer_name: str | None = None


@dataclass
class RetroMAECollator:
    """Texts in, the six tensors of ``RetroMAEForPretraining.forward`` out.

    Holes are drawn from torch's generator, so ``torch.manual_seed`` repeats them and the workers of a DataLoader draw
    different ones.
    """

    tokenizer: Any
    """One of transformers' fast tokenizers."""
    max_seq_length: int = 512
    """Texts are cut to so many tokens, the two special ones counted."""
    encoder_mlm_probability: float = 0.30
    """Share of the tokens whose words the encoder does not see."""
    decoder_mlm_probability: float = 0.50
    """Share of the tokens that each place of the decoder does not see."""

    def __post_init__(self) -> None:
        self._inner = self.tokenizer if isinstance(self.tokenizer, Tokenizer) else Tokenizer.wrapping(self.tokenizer)
        self._mask_id = self._inner.id_of("mask")

    def __call__(self, examples: list[str]) -> dict[str, Tensor]:
        """Tensors of the texts, batch x length but for decoder_attention_mask (batch x length x length)."""
        padded = pad(self._inner.encode(list(examples)), self._inner, self.max_seq_length)
        ids, attention, words = (torch.from_numpy(array) for array in (padded.ids, padded.attention, padded.words))
        seed = int(torch.randint(2**62, ()))
        batch = TokenBatch(ids, attention, words, torch.arange(len(ids)), seed)
        masked = mask_words(batch, self.encoder_mlm_probability, self._mask_id, self._inner.size)
        return {
            "encoder_input_ids": masked.ids,
            "encoder_attention_mask": attention.long(),
            "encoder_labels": masked.labels,
            "decoder_input_ids": ids,
            "decoder_attention_mask": visible_to_decoder(batch, self.decoder_mlm_probability).long(),
            "decoder_labels": torch.where(words >= 0, ids, IGNORED),
        }


class RetroMAEForPretraining(nn.Module):
    """RetroMAE under FlagEmbedding's name: ``bert`` is any of transformers' ForMaskedLM models that encloze knows."""

    def __init__(self, bert: Any, model_args: ModelArguments | None = None) -> None:
        super().__init__()
        self.lm, self.model_args = bert, model_args
        self._backbone = (Backbone.around(bert),)  # in a tuple: its weights are saved under lm alone
        self.c_head = DecoderLayer(self.backbone.shape)
        self.places = Places(self.backbone)  # holds weights only where the encoder has no positions to lend

    @property
    def backbone(self) -> Backbone:
        return self._backbone[0]

    def gradient_checkpointing_enable(self, **_: Any) -> None:
        """Work activations out twice, to save memory; the result is the same."""
        self.backbone.checkpoint_gradients()

    def forward(
        self,
        encoder_input_ids: Tensor,
        encoder_attention_mask: Tensor,
        encoder_labels: Tensor,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor,
        decoder_labels: Tensor,
    ) -> tuple[Tensor]:
        """The loss: the mean cross-entropy of the encoder's masked tokens, and that of the decoder's labels."""
        hidden = self.backbone.encode(encoder_input_ids, encoder_attention_mask.bool())
        visible = decoder_attention_mask.bool()
        visible = visible | (~visible.any(dim=2, keepdim=True) & _first(visible))  # padded places must see something
        rebuilt = enhanced(
            self.c_head, self.places, self.backbone, hidden[:, 0], decoder_input_ids, visible, "normalised"
        )
        loss = hidden.new_zeros((), dtype=torch.float32)
        for rows, labels in ((hidden, encoder_labels), (rebuilt, decoder_labels)):
            total, _ = summed_cross_entropy(*labelled(rows, labels), self.backbone.head())
            loss = loss + total / (labels != IGNORED).sum().clamp(min=1)
        return (loss,)

    def save_pretrained(self, output_dir: str | Path) -> None:
        """Write ``encoder_model/`` as transformers reads it, and all weights, decoder and all, in pytorch_model.bin."""
        folder = Path(output_dir)
        (folder / _ENCODER).mkdir(parents=True, exist_ok=True)
        self.backbone.save(folder / _ENCODER)
        partial = folder / f".{_WEIGHTS}"
        torch.save(self.state_dict(), partial)
        partial.replace(folder / _WEIGHTS)

    @classmethod
    def from_pretrained(
        cls, model_args: ModelArguments | None, folder: str | Path, *_: Any, **__: Any
    ) -> RetroMAEForPretraining:
        """The model of a folder: FlagEmbedding's, ours, or any ForMaskedLM model's, which gets a new decoder (said).

        Raises CheckpointError where pytorch_model.bin holds anything but weights: it is not opened then.
        """
        place = Path(folder)
        backbone = Backbone.load(place / _ENCODER if (place / _ENCODER).is_dir() else place, need_head=True)
        made = cls(backbone.model, model_args)
        found = _saved_decoder(place)
        if found is None:
            progress.note(f"{place} has no decoder: a new one begins")
        else:
            _put(made, found, place)
        return made


def _first(visible: Tensor) -> Tensor:
    return torch.arange(visible.shape[2], device=visible.device) == 0


def _saved_decoder(place: Path) -> dict[str, Tensor] | None:
    """The weights under FlagEmbedding's names, of its folder or of one that encloze pre-trained with retromae."""
    if (place / _ENCODER).is_dir() and (place / _WEIGHTS).is_file():
        try:
            found: dict[str, Tensor] = torch.load(place / _WEIGHTS, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise CheckpointError(
                f"{place / _WEIGHTS} holds more than weights, or is damaged, and was not opened: "
                f"{str(error).partition(chr(10))[0]} Load it where you trust it, and save its state_dict() again"
            ) from error
        return found
    if (place / DECODERS).is_file():
        own = load_file(str(place / DECODERS))
        renamed = {name.replace(_ENCLOZE_DECODER, "c_head.", 1).replace("decoder.places.", "places.", 1): value
                   for name, value in own.items()}  # fmt: skip
        return renamed if any(name.startswith("c_head.") for name in renamed) else None
    return None


def _put(made: RetroMAEForPretraining, found: dict[str, Tensor], place: Path) -> None:
    """Load what is there; the decoder must be whole, and nothing unknown may be in it."""
    # FlagEmbedding's class registers the encoder's embeddings a second time; position_ids are no weights.
    known = {n: v for n, v in found.items() if not n.startswith("decoder_embeddings.") and "position_ids" not in n}
    missing, unexpected = made.load_state_dict(known, strict=False)
    lost = [name for name in missing if not name.startswith("lm.")]  # tied weights of lm are saved once
    if lost or unexpected:
        raise CheckpointError(
            f"{place} holds another make of RetroMAE (missing: {', '.join(lost[:3]) or 'nothing'}; "
            f"unknown: {', '.join(unexpected[:3]) or 'nothing'})"
        )
