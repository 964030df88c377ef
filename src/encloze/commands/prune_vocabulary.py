"""Remove the tokens that a corpus does not contain from an encoder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encloze import progress, recipe
from encloze.backbones.hf.smaller_models import with_tokens
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, TrainingResult
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.card import model_card
from encloze.models.cross_encoder import is_cross_encoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import TOKEN_WEIGHTS
from encloze.models.origins.pretrained import Pretrained
from encloze.settings import NonNegativeInt, PositiveInt, Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.disk import explain_write_errors
from encloze.storage.names import README
from encloze.storage.provenance import write_provenance
from encloze.text.pruned_vocabulary import check_pruned, count_tokens, prune_tokenizer, tokens_to_keep
from encloze.text.tokenizer import Tokenizer

_COMPARED = 64  # texts whose vectors are compared
_MAX_DIFFERENCE = 1e-4  # relative to the largest number: other shapes of matrices are summed in another order


class _Texts(NamedTuple):
    """Documents and queries whose tokens are kept, with the prompts of the model."""

    corpus: Corpus
    queries: list[str]
    config: EncoderConfig

    def iterate(self, title: str) -> Iterator[str]:
        """Yield the texts as the model reads them, and both prompts; show the progress with a title."""
        query, document = self.config.query_prompt, self.config.document_prompt
        documents = (document + text for text in self.corpus.texts())
        every = itertools.chain((query, document), documents, (query + text for text in self.queries))
        return progress.track(every, title, len(self.corpus) + len(self.queries) + 2, "texts")


@dataclass(frozen=True)
class PruneVocabulary(Command, name="prune_vocabulary"):
    """Remove the tokens that a corpus does not contain from an encoder. Vectors of its texts stay the same.

    Most weights of a small multilingual encoder are token embeddings, and a corpus in one language or domain contains
    few of its tokens. Words of other texts are split into smaller tokens. The encoder needs a new index.

    Example:
        >>> PruneVocabulary(model="minilm", corpus="my_data", output="pruned").run().folder
    """

    model: str
    """Encoder: a model folder, a Hugging Face hub id, or minilm."""
    corpus: Format
    """Texts whose tokens are kept: the documents of a file or folder in any known format, and the queries of its split
    train, if it has any."""
    output: Path
    """Model folder to write."""
    min_count: PositiveInt = 1
    """How often a token must occur in the texts to be kept. Above 1, some of the texts are tokenized in another way."""
    min_tokens: NonNegativeInt = 0
    """Minimum number of tokens. If the texts have fewer, the first ones of the vocabulary are kept, too: in most
    vocabularies the most frequent ones."""
    seed: Seed = 0
    """Random seed, a setting of every command. It has no effect here."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    @locks_output
    def run(self) -> TrainingResult:
        refuse_existing(self.output, overwrite=self.overwrite)
        if is_cross_encoder(self.model):
            raise CheckpointError(f"{self.model} is a re-ranker or a classifier. Give an encoder")
        initial = Pretrained(self.model).load(lambda: iter(()), require_mlm_head=False, seed=self.seed)
        texts = self._texts(initial.config)
        backbone, before = initial.backbone, initial.tokenizer
        kept = self._kept(before, texts)
        after = prune_tokenizer(before, kept)
        if self.min_count == 1:
            check_pruned(before, after, kept, texts.iterate("Checking the tokens of"))
        pruned = type(backbone)(with_tokens(backbone.model, kept), has_mlm_head=backbone.has_mlm_head)
        whole = BiEncoder(backbone, before, initial.config, initial.head_weights)
        heads = initial.head_weights and {
            name: value[kept] if name.endswith(TOKEN_WEIGHTS) else value for name, value in initial.head_weights.items()
        }
        smaller = BiEncoder(pruned, after, initial.config, heads)
        if self.min_count == 1:
            self._compare(whole, smaller, kept, texts)
        sizes = [sum(parameter.numel() for parameter in one.parameters()) for one in (whole, smaller)]
        progress.note(
            f"{len(kept):,} of {before.vocab_size:,} tokens are kept: the encoder has {sizes[1] / 1e6:.1f} instead of "
            f"{sizes[0] / 1e6:.1f} million parameters"
        )
        with atomic_folder(self.output, overwrite=self.overwrite) as folder, explain_write_errors(folder):
            smaller.save(folder)
            summary = f"{Path(self.model).name} with {len(kept):,} of its {before.vocab_size:,} tokens, by encloze"
            card = model_card(folder, self.output.name, summary, base_models=[self.model])
            (folder / README).write_text(card, encoding="utf-8")
            inputs = {"model": self.model, **self.corpus.inputs("corpus")}
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return TrainingResult(self.output, "index")

    def _texts(self, config: EncoderConfig) -> _Texts:
        is_judged = "train" in self.corpus.splits()
        queries = [query.text for query in DatasetSplit(self.corpus, "train").queries] if is_judged else []
        return _Texts(Corpus.from_format(self.corpus), queries, config)

    def _kept(self, tokenizer: Tokenizer, texts: _Texts) -> np.ndarray:
        """Return the ids of the tokens to keep, and say how many tokens of other texts are probably not among them."""
        counts = count_tokens(tokenizer, texts.iterate("Counting tokens of"))
        used = np.flatnonzero(counts >= self.min_count)
        kept = tokens_to_keep(tokenizer, used)
        if self.min_tokens > len(kept):
            others = np.setdiff1d(sorted(tokenizer.backend.get_vocab().values()), kept)
            kept = tokens_to_keep(tokenizer, np.union1d(kept, others[: self.min_tokens - len(kept)]))
        rate = counts[counts <= self.min_count].sum() / max(1, counts.sum())
        progress.note(
            f"Of other texts like these, about {rate:.2%} of the tokens are not among those that the texts contain and "
            "would be split (Good, 1953)"
        )
        return kept

    def _compare(self, model: BiEncoder, pruned: BiEncoder, kept: np.ndarray, texts: _Texts) -> None:
        """Raise CheckpointError if vectors of documents differ: dense ones, and term weights of the kept tokens."""
        sample = list(texts.corpus.texts(np.unique(np.linspace(0, len(texts.corpus) - 1, _COMPARED).astype(np.int64))))
        vectors = []
        for one in (model, pruned):
            one.precision = "float32"
            vectors.append(one.eval().encode_documents(sample))
        dense = [one.dense for one in vectors if one.dense is not None]
        sparse = [one.sparse for one in vectors if one.sparse is not None]
        pairs = [tuple(dense)] if dense else []
        pairs += [(sparse[0][:, kept].toarray(), sparse[1].toarray())] if sparse else []
        for old, new in pairs:
            if np.abs(old - new).max() > _MAX_DIFFERENCE * max(1e-9, np.abs(old).max()):
                raise CheckpointError(
                    f"{self.model} computes other vectors without the tokens that the texts do not contain, so its "
                    "vocabulary cannot be pruned"
                )
