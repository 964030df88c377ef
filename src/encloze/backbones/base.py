"""A backbone: a transformer encoder, perhaps with the head that predicts masked tokens."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encloze import progress
from encloze.backbones._loading import loading, quiet
from encloze.errors import CheckpointError, RecipeError
from encloze.family import Family

# Shapes: batch, length, width (of a hidden state), vocabulary.

_KIND = torch.float32  # small steps get lost in weights of half the digits; products are shortened by autocast
# Where ELECTRA and ConvBERT, DeBERTa, ALBERT and RemBERT widen embeddings that are narrower than hidden states.
_WIDENING = ("embeddings_project", "embeddings.embed_proj", "encoder.embedding_hidden_mapping_in")


class Shape(NamedTuple):
    """What a decoder's layer copies from its encoder."""

    width: int
    inner: int  # width of the feed-forward part
    heads: int
    dropout: float
    attention_dropout: float
    eps: float  # of the norms
    spread: float  # standard deviation of the first weights


class VocabularyHead(nn.Module):
    """A head for masked language modelling in its two parts, which are the model's own modules."""

    def __init__(self, transform: nn.Module, decoder: nn.Linear) -> None:
        super().__init__()
        self.transform, self.decoder = transform, decoder

    def forward(self, rows: Tensor) -> Tensor:
        """Logits ... x vocabulary, of hidden states ... x width."""
        logits: Tensor = self.decoder(self.transform(rows))
        return logits


class Backbone(nn.Module, Family):
    """An encoder family's classes of transformers, behind the calls that objectives and heads are written with.

    ``model`` is one of transformers' ForMaskedLM models, or a bare encoder where ``has_head`` is false. A member is
    named like the ``model_type`` in its config.json. This class itself serves families that have no member: it looks
    for their parts under the usual names. Nothing that is found so is used for pre-training before it was tried.
    """

    def __init__(self, model: Any, *, has_head: bool, head_is_new: bool = False) -> None:
        super().__init__()
        self.model = model
        self.has_head, self.head_is_new = has_head, head_is_new

    @classmethod
    def load(cls, folder: Path, *, need_head: bool) -> Backbone:
        """The encoder in a folder. A head that is there is kept; with ``need_head`` a missing one is made and said.

        A new head is random but for its last matrix, which is the token embeddings'. Raises CheckpointError.
        """
        from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

        with loading(folder):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            if config.is_encoder_decoder:
                raise CheckpointError(f"{folder} is an encoder-decoder ({config.model_type}); only encoders serve here")
            headless, made = _without_class(config), config.architectures or []
            if not need_head and (headless or not any(name.endswith("ForMaskedLM") for name in made)):
                return cls._of(config)(_without_pooler(AutoModel.from_pretrained(folder, dtype=_KIND)), has_head=False)
            _refuse(config, headless)
            model, report = AutoModelForMaskedLM.from_pretrained(folder, dtype=_KIND, output_loading_info=True)
        missing = [name for name in report["missing_keys"] if "position_ids" not in name]
        encoder_missing = [name for name in missing if name.startswith(f"{model.base_model_prefix}.")]
        if encoder_missing:
            raise CheckpointError(f"{folder} lacks weights of its encoder: {', '.join(encoder_missing[:3])}")
        backbone = cls._of(config)(model, has_head=True, head_is_new=bool(missing))
        if need_head:
            _refuse(config, backbone.lacks())
        if missing:
            tied = ", tied to its embeddings" if backbone._tie(missing) else ""
            progress.note(f"{folder.name} has no head for masked language modelling: it gets a new one{tied}")
        return backbone

    @classmethod
    def new(cls, config: Any) -> Backbone:
        """A backbone with random weights, drawn from torch's generator, from one of transformers' configurations."""
        from transformers import AutoModelForMaskedLM

        _refuse(config, _without_class(config))
        return cls.around(AutoModelForMaskedLM.from_config(config))

    @classmethod
    def around(cls, model: Any) -> Backbone:
        """A backbone around one of transformers' ForMaskedLM models."""
        backbone = cls._of(model.config)(model, has_head=True)
        _refuse(model.config, backbone.lacks())
        return backbone

    @classmethod
    def _of(cls, config: Any) -> type[Backbone]:
        """The member that serves a configuration, else this class."""
        name = config.model_type.replace("-", "_")
        return cls.member(name) if name in cls.members() else Backbone

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    @property
    def shape(self) -> Shape:
        """The encoder's sizes and rates, BERT's where its configuration has no such thing."""
        config = self.config

        def setting(default: float, *names: str) -> Any:
            found = (getattr(config, name, None) for name in names)
            return next((value for value in found if value is not None), default)

        return Shape(
            width=self.width,
            inner=int(setting(4 * self.width, "intermediate_size", "hidden_dim")),
            heads=int(config.num_attention_heads),
            dropout=float(setting(0.1, "hidden_dropout_prob", "mlp_dropout", "hidden_dropout", "dropout")),
            attention_dropout=float(setting(0.1, "attention_probs_dropout_prob", "attention_dropout")),
            eps=float(setting(1e-12, "layer_norm_eps", "norm_eps", "layer_norm_epsilon", "rms_norm_eps")),
            spread=float(setting(0.02, "initializer_range")),
        )

    @property
    def max_tokens(self) -> int:
        """The longest input, special tokens included; 512 where the encoder sets no limit (Funnel, XLNet)."""
        return longest_input(self.config, self.encoder)

    @property
    def encoder(self) -> Any:
        """The model without its head."""
        return self.model.base_model

    def encode(self, ids: Tensor, attention: Tensor) -> Tensor:
        """The last hidden states: batch x length x width, of ids and a mask (true where no padding) batch x length."""
        hidden: Tensor = self.encoder(input_ids=ids, attention_mask=attention.long()).last_hidden_state
        return hidden

    def encode_through(self, ids: Tensor, attention: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """What ``encode`` gives, and the hidden states after the first ``layer`` layers, in one pass."""
        passed = self.encoder(input_ids=ids, attention_mask=attention.long(), output_hidden_states=True)
        depth = len(passed.hidden_states) - 1  # the first are the embeddings
        if not 0 < layer < depth:
            message = f"must be from 1 to {depth - 1}, inside the encoder's {depth} layers, not {layer}"
            raise RecipeError("the objective", [("layer", message)])
        return passed.last_hidden_state, passed.hidden_states[layer]

    def embed(self, ids: Tensor) -> Tensor:
        """What enters the first layer for ids batch x length: batch x length x width."""
        return self._embedded(ids) if "embeddings" in self._sound else self._entering(ids)

    @property
    def has_positions(self) -> bool:
        """Whether the embeddings add an absolute position, as wide as a hidden state, to each token."""
        return "positions" in self._sound

    def place(self, vectors: Tensor) -> Tensor:
        """Vectors (batch x length x width) in the place of token vectors: positions added, normalised, dropped out."""
        self._need_positions()
        return self._placed(vectors)

    def positions(self, length: int) -> Tensor:
        """The bare position vectors of the first ``length`` places: length x width."""
        self._need_positions()
        return self._positions(length)

    def mix(self, weights: Tensor) -> Tensor:
        """Token embeddings, weighted and summed: batch x width, of weights batch x vocabulary.

        The weights learn from it, the embeddings do not.
        """
        matrix = self.encoder.get_input_embeddings().weight.detach()
        return self._widened(weights.to(matrix.dtype) @ matrix)

    def head(self) -> VocabularyHead:
        """What ``predict`` calls; its parameters are the model's."""
        decoder = self.model.get_output_embeddings()
        before = (_without(part, decoder) for part in self.model.children() if part is not self.encoder)
        return VocabularyHead(nn.Sequential(*before), decoder)

    def predict(self, hidden: Tensor) -> Tensor:
        """The logits of the masked-language-modelling head: ... x vocabulary, of hidden states ... x width."""
        logits: Tensor = self.head()(hidden)
        return logits

    def layers(self) -> nn.ModuleList:
        """The encoder's layers, first to last: the longest list of modules in it."""
        lists = [module for module in self.encoder.modules() if isinstance(module, nn.ModuleList)]
        if not lists:
            raise CheckpointError(f"{self.config.model_type!r} encoders have no list of layers to checkpoint")
        return max(lists, key=len)

    def checkpoint_gradients(self) -> None:
        """Keep only each layer's input and compute the rest again on the way back: less memory, a third more time."""
        for layer in self.layers():
            recompute(layer)

    def keep_head(self) -> None:
        """Let the head stay as it is, where nothing is predicted; its matrix, where it is the embeddings', learns."""
        self.model.requires_grad_(False)
        self.encoder.requires_grad_(True)

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors as transformers reads them."""
        with quiet():
            self.model.save_pretrained(folder)

    def lacks(self) -> str | None:
        """Why there is no head for masked language modelling that an objective could use, or None where there is."""
        if not self.has_head:
            return "it was loaded without its head"
        return None if "head" in self._sound else "what predicts tokens in it cannot be told apart"

    def _tie(self, missing: list[str]) -> bool:
        """Make a new head's last matrix the token embeddings', where it can be; say whether it is."""
        if self.lacks() is not None:
            return False
        words, last = self.encoder.get_input_embeddings().weight, self.head().decoder.weight
        names = {name for name, weight in self.model.named_parameters(remove_duplicate=False) if weight is last}
        if last is not words and last.shape == words.shape and names & set(missing):
            self.config.tie_word_embeddings = True
            self.model.tie_weights()
        return self.head().decoder.weight is words

    def _need_positions(self) -> None:
        if not self.has_positions:
            raise NotImplementedError(f"{self.config.model_type!r} encoders add no positions to their tokens")

    def _embedded(self, ids: Tensor) -> Tensor:
        embeddings = getattr(self.encoder, "embeddings", self.encoder.get_input_embeddings())
        return self._widened(embeddings(ids))

    def _placed(self, vectors: Tensor) -> Tensor:
        placed: Tensor = self.encoder.embeddings(input_ids=None, inputs_embeds=vectors)
        return placed

    def _positions(self, length: int) -> Tensor:
        table: Tensor = self.encoder.embeddings.position_embeddings.weight
        first = _first_position(self.encoder)
        return table[first : first + length]

    def _widened(self, vectors: Tensor) -> Tensor:
        """Vectors as wide as token embeddings, made as wide as hidden states."""
        if vectors.shape[-1] == self.width:
            return vectors
        inner = dict(self.encoder.named_modules())
        for name in _WIDENING:
            if name in inner:
                widened: Tensor = inner[name](vectors)
                return widened
        raise NotImplementedError(f"how {self.config.model_type!r} encoders widen their embeddings is not known")

    def _entering(self, ids: Tensor) -> Tensor:
        """What enters the first layer, learned from a whole pass: right for every family, but slow."""
        passed = self.encoder(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        entering: Tensor = passed.hidden_states[0]
        return entering

    @functools.cached_property
    def _sound(self) -> frozenset[str]:
        """Which of head, embeddings and positions do, on a tiny input, what they do inside the whole model.

        Nothing is learned, dropped out or drawn for it.
        """
        model, vocabulary = self.model, int(self.config.vocab_size)
        middle = [number % vocabulary for number in range(vocabulary // 2, vocabulary // 2 + 9)]
        tokens = [number for number in middle if number != getattr(self.config, "pad_token_id", None)][:8]
        ids, training = torch.tensor([tokens], device=model.device), model.training
        trials = {"head": self._try_head, "embeddings": self._try_embeddings, "positions": self._try_positions}
        model.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                return frozenset(name for name, trial in trials.items() if _succeeds(trial, ids))
        finally:
            model.train(training)

    def _try_head(self, ids: Tensor) -> bool:
        head, real = self.head(), torch.ones_like(ids)
        logits = self.model(input_ids=ids, attention_mask=real).logits
        return isinstance(head.decoder, nn.Linear) and _agree(head(self.encode(ids, real)), logits)

    def _try_embeddings(self, ids: Tensor) -> bool:
        return _agree(self._embedded(ids), self._entering(ids))

    def _try_positions(self, ids: Tensor) -> bool:
        placed = self._placed(self.encoder.get_input_embeddings()(ids))
        # A place's position put in another place adds up to the same as that one's put in this.
        swapped = self._placed(self._positions(ids.shape[1]).flip(0)[None])
        return _agree(placed, self._entering(ids)) and _agree(swapped, swapped.flip(1))


def longest_input(config: Any, encoder: Any) -> int:
    """The longest input of an encoder, special tokens included; 512 where it sets no limit (Funnel, XLNet)."""
    limit = int(getattr(config, "max_position_embeddings", 0))
    return limit - _first_position(encoder) if limit > 0 else 512


def _first_position(encoder: Any) -> int:
    # RoBERTa and its kin count positions from the padding's number on, so the first ones are never used.
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    skipped = getattr(table, "padding_idx", None)
    return 0 if skipped is None else int(skipped) + 1


def recompute(layer: nn.Module) -> None:
    """Keep only a layer's input, and compute the rest again on the way back."""
    if not isinstance(layer.forward, functools.partial):
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)


def lm_head(part: Any) -> VocabularyHead:
    """The head that RoBERTa and its kin call ``lm_head``."""
    return VocabularyHead(nn.Sequential(part.dense, nn.GELU(), part.layer_norm), part.decoder)


def _succeeds(trial: Callable[[Tensor], bool], ids: Tensor) -> bool:
    try:
        return trial(ids)
    except Exception:  # the code of a family that nobody here has read may fail in any way
        return False


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are the same to half their digits."""
    allowed = torch.finfo(expected.dtype).eps ** 0.5 * expected.norm()
    return found.shape == expected.shape and bool((found - expected).norm() <= allowed)


def _without(module: nn.Module, part: nn.Module) -> nn.Module:
    """A module that ends with ``part``, without it: a copy as deep as that lies, of the same parameters."""
    if module is part:
        return nn.Identity()
    if all(inner is not part for inner in module.modules()):
        return module
    rest = copy.copy(module)
    rest._modules = {name: child and _without(child, part) for name, child in module._modules.items()}
    rest._parameters = {}  # biases that the part has as well
    return rest


def _without_class(config: Any) -> str | None:
    from transformers import MODEL_FOR_MASKED_LM_MAPPING as KNOWN

    return None if type(config) in KNOWN else "transformers has no class for it"


def _refuse(config: Any, why: str | None) -> None:
    if why is not None:
        raise CheckpointError(
            f"an encoder of the type {config.model_type!r} has no head for masked language modelling that can be used: "
            f"{why}. It can be fine-tuned and searched with, and pre-trained with the objectives simcse and cropping"
        )


def _without_pooler(model: Any) -> Any:
    """The encoder without BERT's pooler, which may be random and which no embedding here goes through."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = nn.Identity()  # not None, which some families call
    return model
