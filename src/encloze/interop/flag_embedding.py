"""FlagEmbedding's RetroMAE classes, so that a script written for them runs with its import line changed.

``RetroMAEForPretraining``, ``RetroMAECollator`` and ``ModelArguments`` keep the names, the calls and the weights' names
of FlagEmbedding's research/baai_general_embedding/retromae_pretrain; the mathematics is that of
``objectives/retromae.py``. Differences: the collator's default rates are the recipe's .30 and .50 (theirs are .15 and
.15 unless told), each place draws a mask of its own, words are known for any fast tokenizer, no text is masked less
because it is long, and what ``save_pretrained`` wrote ``from_pretrained`` restores, the decoder too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from encloze import progress
from encloze.backbones.base import Backbone, recompute
from encloze.errors import CheckpointError, DataError, EnclozeError
from encloze.models.checkpoint import DECODERS, Card
from encloze.models.layers.cross_entropy import labelled, summed_cross_entropy
from encloze.models.layers.decoders import DecoderLayer, Places, enhanced
from encloze.models.layers.masking import IGNORED, TokenBatch, mask_words, visible_to_decoder
from encloze.storage.model_folders import locate
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokens import pad

_ENCODER, _WEIGHTS = "encoder_model", "pytorch_model.bin"
# What objectives/retromae.py calls the parts that are saved under names of their own here.
_PARTS = {"decoder.layers.0.": "c_head.", "decoder.places.": "places."}


@dataclass
class ModelArguments:
    """Which model to begin with, as FlagEmbedding's scripts parse it."""

    model_name_or_path: str | None = "bert-base-uncased"
    config_name: str | None = None


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
        for name in ("encoder_mlm_probability", "decoder_mlm_probability"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.max_seq_length < 3:
            raise ValueError(f"max_seq_length must be 3 or more, not {self.max_seq_length}")
        self._inner = self.tokenizer if isinstance(self.tokenizer, Tokenizer) else Tokenizer.wrapping(self.tokenizer)
        self._mask_id = self._inner.id_of("mask")

    def __call__(self, examples: Sequence[str]) -> dict[str, Tensor]:
        """Tensors of the texts, batch x length but for decoder_attention_mask (batch x length x length).

        Raises DataError for anything but a list of texts.
        """
        _check_texts(examples)
        padded = pad(self._inner.encode(list(examples)), self._inner, self.max_seq_length)
        ids, attention, words = (torch.from_numpy(array) for array in (padded.ids, padded.attention, padded.words))
        seed = int(torch.randint(2**62, ()))
        numbers = torch.arange(len(ids))
        batch = TokenBatch(ids, attention, words, numbers, numbers, seed)
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

    def gradient_checkpointing_enable(self, *_: Any, **__: Any) -> None:
        """Work the encoder's activations out twice, to save memory; the result is the same."""
        self.backbone.checkpoint_gradients()
        recompute(self.c_head)

    activation_checkpointing_enable = gradient_checkpointing_enable  # its name from transformers 5 on

    def _replicate_for_data_parallel(self) -> Any:  # which torch calls; its copies have no parameters to learn
        raise EnclozeError(
            "RetroMAEForPretraining cannot be trained with nn.DataParallel, which Trainer takes where it sees several "
            "GPUs. Start a process for each: torchrun --nproc_per_node GPUS script.py"
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
        cls, model_args: ModelArguments | None, folder: str | Path, *others: Any, **options: Any
    ) -> RetroMAEForPretraining:
        """The model of a folder: FlagEmbedding's, ours, or any ForMaskedLM model's, which gets a new decoder (said).

        A hub's id is fetched. Warns of further arguments, which are for transformers and are not passed on. Raises
        CheckpointError where pytorch_model.bin holds anything but weights: it is not opened then.
        """
        if others or options:
            given = ", ".join([*map(repr, others), *options])
            progress.warn(
                f"from_pretrained takes a folder and nothing more: {given} is left out. To have it, load the model "
                "with AutoModelForMaskedLM and give it to RetroMAEForPretraining(model, model_args)"
            )
        inner = Path(folder) / _ENCODER
        place = locate(inner).parent if inner.is_dir() else locate(folder)
        made = cls(Backbone.load(inner if inner.is_dir() else place, need_head=True).model, model_args)
        found = _saved_decoder(place)
        if found is None:
            progress.note(f"{place} has no decoder that is like this one: a new one begins")
        else:
            _put(made, found, place)
        return made


def _first(visible: Tensor) -> Tensor:
    return torch.arange(visible.shape[2], device=visible.device) == 0


def _check_texts(examples: Any) -> None:
    """Raise DataError unless these are texts."""
    strange = [examples] if isinstance(examples, str) else [e for e in examples if not isinstance(e, str)]
    if len(examples) and not strange:
        return
    found = type(strange[0]).__name__ if strange else "nothing"
    within = f" with {', '.join(map(repr, strange[0]))}" if strange and isinstance(strange[0], dict) else ""
    raise DataError(
        f"RetroMAECollator takes a list of texts, one or more, and found {found}{within}. Give it a data set whose "
        "items are texts, say [row['text'] for row in rows]"
    )


def _saved_decoder(place: Path) -> dict[str, Tensor] | None:
    """The weights under FlagEmbedding's names, of its folder or of one that encloze pre-trained."""
    if (place / _ENCODER).is_dir():
        return _weights(place / _WEIGHTS) if (place / _WEIGHTS).is_file() else None
    if not (place / DECODERS).is_file() or not _is_alike(place):
        return None
    own = load_file(str(place / DECODERS))
    renamed = {
        theirs + name.removeprefix(ours): value
        for name, value in own.items()
        for ours, theirs in _PARTS.items()
        if name.startswith(ours)
    }
    return renamed if any(name.startswith("c_head.") for name in renamed) else None


def _is_alike(place: Path) -> bool:
    """Whether a decoder that encloze pre-trained does what c_head does: it would load, and mean something else."""
    recipe = place / "recipe.yaml"
    if not recipe.is_file():
        return False
    objective = (yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}).get("objective", {})
    dense = Card.read(place, 512).dense
    return (
        objective.get("type") in ("retromae", "dupmae")
        and objective.get("decoding", "enhanced") == "enhanced"
        and objective.get("query_stream", "normalised") == "normalised"
        and dense is not None
        and dense.pooling == "cls"
    )


def _weights(file: Path) -> dict[str, Tensor]:
    """What torch.save wrote, if it is tensors by name and nothing else; no code in it is ever run."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f" (it asks for {named[1]})" if named else ""
        raise CheckpointError(
            f"{file} is damaged or holds more than weights{what}, which could be code, so it was not opened. "
            "Ask for a file of its state_dict() alone"
        ) from error
    except Exception as error:  # a damaged file may fail in any way
        first = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{file} is damaged: {first}. Fetch it again") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(
            f"{file} is no state_dict(): tensors by name were expected. Ask for a file of those alone"
        )
    return found


def _put(made: RetroMAEForPretraining, found: dict[str, Tensor], place: Path) -> None:
    """Load what is there; the decoder must be whole, and nothing may be unknown or of another size."""
    # FlagEmbedding's class registers the encoder's embeddings a second time; position_ids are no weights.
    given = {n: v for n, v in found.items() if not n.startswith("decoder_embeddings.") and "position_ids" not in n}
    own = made.state_dict()
    faults = {
        "missing": [name for name in own if name not in given and not name.startswith("lm.")],  # lm has a folder
        "unknown": [name for name in given if name not in own],
        "of another size": [name for name, value in given.items() if name in own and own[name].shape != value.shape],
    }
    if any(faults.values()):
        listed = "; ".join(f"{what}: {', '.join(names[:3])}" for what, names in faults.items() if names)
        raise CheckpointError(
            f"{place} holds another make of RetroMAE ({listed}). Give a folder that save_pretrained of FlagEmbedding's "
            f"class or this one wrote, or the encoder alone, which gets a new decoder: {_ENCODER} in it"
        )
    made.load_state_dict(given, strict=False)
