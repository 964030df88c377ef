"""Deterministic training of a tokenizer on a corpus.

The WordPiece and Unigram trainers of the tokenizers library iterate over hash maps in random order, so the vocabulary
differs between runs. Unigram tokenizers are therefore trained by sentencepiece. For WordPiece, a BPE tokenizer is
trained, because BPE training is deterministic. The WordPiece vocabulary then consists of the most frequent BPE pieces
at the start of words and inside words.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from encloze.errors import DataError, importable
from encloze.settings import Settings
from encloze.text.tokenizer import SPECIAL_TOKEN_KEYS, Tokenizer, word_starts

_SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_BATCH_TEXTS = 1024

Texts = Callable[[], Iterable[str]]
"""Function that returns an iterator over the texts; called once per pass."""


@dataclass(frozen=True)
class TokenizerSettings(Settings):
    """Settings of a tokenizer that is trained on the corpus."""

    algorithm: Literal["wordpiece", "unigram", "bpe"] = "unigram"
    """Algorithm that splits words into pieces. unigram and bpe also support scripts without spaces between words."""
    vocab_size: int = 16000
    """Maximum number of pieces, including five special tokens."""
    lowercase: bool = True
    """Whether texts are converted to lower case."""
    strip_accents: bool = False
    """Whether combining marks, such as accents, are removed. Unsuitable for languages in which they are essential, such
    as Hindi, Thai and Japanese."""

    def __post_init__(self) -> None:
        if self.vocab_size < 100:
            raise ValueError(f"vocab_size must be 100 or more, not {self.vocab_size}")


def train_tokenizer(texts: Texts, settings: TokenizerSettings) -> Tokenizer:
    """Train a tokenizer. The same texts and settings give the same tokenizer.

    Args:
        texts: Function that returns an iterator over the texts; it is called once or twice.
        settings: Settings of the tokenizer.

    Raises:
        DataError: The texts are too few or contain no letters.

    Example:
        >>> tokenizer = train_tokenizer(corpus.texts, TokenizerSettings(vocab_size=8192))  # doctest: +SKIP
    """
    backend = _TRAINERS[settings.algorithm](texts, settings)
    cls_id, sep_id = (_token_id(backend, role) for role in ("cls", "sep"))
    backend.post_processor = processors.BertProcessing((_SPECIAL["sep"], sep_id), (_SPECIAL["cls"], cls_id))
    names = {SPECIAL_TOKEN_KEYS[role][0]: token for role, token in _SPECIAL.items()}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]  # else transformers passes no token types of pairs
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs, **names}
    return Tokenizer(backend, dict(_SPECIAL), config)


def _train_bpe(texts: Texts, settings: TokenizerSettings) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer, backend.pre_tokenizer = _normalizer(settings), pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(texts(), _bpe_trainer(settings, pre_tokenizers.ByteLevel.alphabet()))
    return backend


def _train_wordpiece(texts: Texts, settings: TokenizerSettings) -> tokenizers.Tokenizer:
    bpe = tokenizers.Tokenizer(models.BPE(unk_token=_SPECIAL["unk"]))
    bpe.normalizer, bpe.pre_tokenizer = _normalizer(settings), pre_tokenizers.BertPreTokenizer()
    bpe.train_from_iterator(texts(), _bpe_trainer(settings, []))
    # Count each piece at the start of words (row 0) and inside words (row 1).
    counts = np.zeros((2, bpe.get_vocab_size()), np.int64)
    source: Iterator[str] = iter(texts())
    while batch := list(islice(source, _BATCH_TEXTS)):
        for encoding in bpe.encode_batch(batch, add_special_tokens=False):
            starts = word_starts(encoding.word_ids, max_pieces=None)
            np.add.at(counts, (1 - starts.astype(np.int64), np.array(encoding.ids, np.int64)), 1)
    ranking = []
    for piece, id_ in bpe.get_vocab().items():
        if piece not in _SPECIAL.values():
            for is_inside, prefix in enumerate(("", "##")):
                # Single letters come first: with all of them, no word of the corpus is unknown.
                if counts[is_inside, id_] or len(piece) == 1:
                    ranking.append((len(piece) > 1, -int(counts[is_inside, id_]), f"{prefix}{piece}"))
    pieces = [*_SPECIAL.values(), *(piece for _, _, piece in sorted(ranking))][: settings.vocab_size]
    vocabulary = {piece: id_ for id_, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=_SPECIAL["unk"]))
    backend.normalizer, backend.pre_tokenizer = bpe.normalizer, bpe.pre_tokenizer
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(list(_SPECIAL.values()))
    return backend


def _train_unigram(texts: Texts, settings: TokenizerSettings) -> tokenizers.Tokenizer:
    sentencepiece = importable("sentencepiece", "train")
    # Metaspace splits words at spaces only, so all other white space is replaced by a space.
    spaces = [normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    normalizer, model = normalizers.Sequence([_normalizer(settings), *spaces]), io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for line in map(normalizer.normalize_str, texts()) if line),
            model_writer=model,
            vocab_size=settings.vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            split_by_unicode_script=True,
            max_sentence_length=1 << 20,
            input_sentence_size=1_000_000,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=3,
            pad_piece=_SPECIAL["pad"],
            unk_piece=_SPECIAL["unk"],
            bos_piece=_SPECIAL["cls"],
            eos_piece=_SPECIAL["sep"],
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            control_symbols=[_SPECIAL["mask"]],
        )
    except RuntimeError as error:
        raise DataError(
            f"no unigram tokenizer can be trained on this corpus: {error}. Use more texts, or set algorithm to bpe"
        ) from error
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(trained.id_to_piece(id_), trained.get_score(id_)) for id_ in range(trained.get_piece_size())]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=1))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(list(_SPECIAL.values()))
    return backend


_TRAINERS = {"bpe": _train_bpe, "wordpiece": _train_wordpiece, "unigram": _train_unigram}


def _bpe_trainer(settings: TokenizerSettings, alphabet: list[str]) -> Any:
    return trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=list(_SPECIAL.values()),
        initial_alphabet=alphabet,
        show_progress=False,
    )


def _normalizer(settings: TokenizerSettings) -> Any:
    steps: list[Any] = [normalizers.NFC()]
    steps += [normalizers.Lowercase()] * settings.lowercase
    steps += [normalizers.NFD(), normalizers.StripAccents()] * settings.strip_accents
    return normalizers.Sequence(steps)


def _token_id(backend: tokenizers.Tokenizer, role: str) -> int:
    token_id = backend.token_to_id(_SPECIAL[role])
    assert token_id is not None, f"the trained vocabulary lacks {_SPECIAL[role]}"
    return int(token_id)
