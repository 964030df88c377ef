"""DupMAE (Xiao et al., ACL 2023, https://arxiv.org/abs/2305.02564): RetroMAE, and a bag of tokens beside it.

One embedding rebuilds the text as in RetroMAE. The other tokens' hidden states, pooled over the vocabulary, say which
tokens the text holds (section 3.2). ``preset`` chooses between the equations of the paper and the released code
(staoxiao/RetroMAE, modeling_duplex.py), which differ in:
| | paper | released |
| projection to the vocabulary | one linear map of its own (Eq. 6) | the head for masked language modelling |
| pooled places | tokens that were not masked | all but the first; masked ones and the last one, too |
| weight of each distinct token | 1 | 1 / number of tokens, repeats counted |
| weight of the term | 1 | 0.1 |
The enhanced decoding is RetroMAE's: each place draws a mask of its own; its query stream is normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from encloze.backbones.base import Backbone, VocabularyHead
from encloze.models.layers.bags import bag_loss, distinct_tokens
from encloze.models.layers.decoders import EnhancedDecoder, begin_as_bert
from encloze.models.layers.masking import IGNORED, Masked, TokenBatch, visible_to_decoder
from encloze.models.layers.pooling import Pooling
from encloze.models.layers.term_weights import highest_logits
from encloze.objectives.base import Objective, PretrainingModule, Reading, bottleneck, tokens_of
from encloze.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class DupMae(Objective, name="dupmae"):
    """Rebuild a text from its embedding, and say from its tokens' vectors which tokens it holds."""

    preset: Literal["paper", "released"] = "released"
    """Whose equations the bag of tokens follows: the paper's, or the released code's."""
    bag_weight: float | None = None
    """Weight of the bag of tokens in the loss; by default the preset's, 1 (paper) or 0.1 (released)."""
    encoder_mask_rate: float = 0.30
    """Share of the tokens whose words the encoder does not see."""
    decoder_mask_rate: float = 0.50
    """Share of the tokens that each place of the decoder does not see."""
    bottleneck: Literal["cls", "mean"] | None = None
    """Which embedding the text is rebuilt from; by default the one the encoder was trained to make."""

    def __post_init__(self) -> None:
        self.check_shares("encoder_mask_rate", "decoder_mask_rate")
        self.check_positive("bag_weight")

    def module(self, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> DupMaeModule:
        return DupMaeModule(self, backbone, tokenizer, bottleneck(self.bottleneck, pooling))


class Drawn(NamedTuple):
    """Texts with holes for the encoder, and what each place of the decoder sees."""

    texts: TokenBatch
    encoder: Masked
    visible: Tensor  # bool, batch x length x length

    @property
    def every_token(self) -> Tensor:
        return torch.where(self.texts.words >= 0, self.texts.ids, IGNORED)

    def counts(self) -> dict[str, Tensor]:
        texts = torch.tensor(len(self.texts.ids), device=self.texts.ids.device)
        return {**tokens_of(encoder=self.encoder.labels, decoder=self.every_token), "bag": texts}


class DupMaeModule(PretrainingModule):
    """RetroMAE's parts, and in the paper's preset a map from hidden states to the vocabulary."""

    def __init__(self, settings: DupMae, backbone: Backbone, tokenizer: Tokenizer, pooling: Pooling) -> None:
        super().__init__(backbone, tokenizer, pooling)
        self.settings, self.is_paper = settings, settings.preset == "paper"
        bag_weight = settings.bag_weight or (1.0 if self.is_paper else 0.1)
        self.weights = {"encoder": 1.0, "decoder": 1.0, "bag": bag_weight}
        self.decoder = EnhancedDecoder(backbone, "normalised")
        if self.is_paper:
            self.projection = nn.Linear(backbone.width, backbone.config.vocab_size, bias=False)
            begin_as_bert(self.projection, backbone.shape.spread)

    def draw(self, batch: TokenBatch) -> Drawn:
        holes = self.masked(batch, self.settings.encoder_mask_rate)
        return Drawn(batch, holes, visible_to_decoder(batch, self.settings.decoder_mask_rate))

    def read(self, drawn: Drawn) -> Reading:
        reading = self.read_masked(drawn.texts, drawn.encoder)
        return reading._replace(sums=reading.sums | {"bag": self._bag(drawn, reading.hidden)})

    def rebuild(self, drawn: Drawn, reading: Reading) -> dict[str, Tensor]:
        rebuilt = self.decoder(self.backbone, reading.views[0], drawn.texts.ids, drawn.visible)
        return self.guess("decoder", rebuilt, drawn.every_token)

    def _bag(self, drawn: Drawn, hidden: Tensor) -> Tensor:
        texts = drawn.texts
        if self.is_paper:
            own = texts.own_places()
            places = own & (drawn.encoder.ids != self.mask_id)
            places |= own & ~places.any(dim=1, keepdim=True)  # a text that is masked whole
            head, share = VocabularyHead(nn.Identity(), self.projection), torch.ones(len(hidden), device=hidden.device)
        else:
            places = texts.attention.clone()
            places[:, 0] = False
            head, share = self.backbone.head(), 1 / (texts.words >= 0).sum(dim=1).clamp(min=1)
        held = distinct_tokens(texts, self.backbone.config.vocab_size)
        return bag_loss(highest_logits(hidden, places, head), held, share)
