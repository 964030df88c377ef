"""DupMAE's representation of a text by its ordinary tokens (Xiao et al., ACL 2023, section 3.4).

For each token of the vocabulary the highest logit over the text's own places, as it is; of a document the 384 highest
are kept, of a query all. Together with a dense head of width 384 this is the paper's representation (no code of it was
ever released).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from encloze.backbones.base import Backbone
from encloze.models.heads._over_vocabulary import OverVocabulary
from encloze.models.heads.base import Read, Side
from encloze.models.layers.term_weights import highest_logits


@dataclass(frozen=True)
class OrdinaryTokens(OverVocabulary, name="ordinary_tokens"):
    """The highest logits of a document's places."""

    special_places: bool = False
    document_top_k: int | None = 384
    top_k_in_training: bool = True

    def represent(self, read: Read, side: Side, backbone: Backbone, part: nn.Module | None) -> Tensor:
        assert read.hidden is not None
        return highest_logits(read.hidden, self.places(read), backbone.head())
