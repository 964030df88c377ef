"""Train a tokenizer on a corpus; the same texts give the same tokenizer.

The trainers of the tokenizers library for WordPiece and Unigram go through hash maps in random order, and give another
vocabulary each time. So Unigram is trained by sentencepiece, and WordPiece takes the pieces of a BPE, whose training
is reproducible, that are most used at the start and inside of words.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from encloze.errors import DataError, importable
from encloze.settings import Settings
from encloze.text.tokenizer import KEYS, Tokenizer, word_starts

_SPECIAL = {"pad": "[PAD]", "unknown": "[UNK]", "first": "[CLS]", "last": "[SEP]", "mask": "[MASK]"}
_TEXTS = 1024

Texts = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class TokenizerFromCorpus(Settings):
    """How a tokenizer is trained on a corpus that no existing one fits."""

    kind: Literal["wordpiece", "unigram", "bpe"] = "unigram"
    """How words are cut into pieces; unigram and bpe also serve scripts without blanks between words."""
    vocabulary: int = 16000
    """Number of pieces at most, the five special ones included."""
    lowercase: bool = True
    """Whether capital letters become small ones."""
    strip_marks: bool = False
    """Whether combining marks are dropped: wrong for Hindi, Thai, Japanese, Hebrew points and many others."""

    def __post_init__(self) -> None:
        if self.vocabulary < 100:
            raise ValueError(f"vocabulary must be 100 or more, not {self.vocabulary}")


def train_tokenizer(texts: Texts, settings: TokenizerFromCorpus) -> Tokenizer:
    """A tokenizer for texts, which are gone through once or twice. Raises DataError where they hold no letter."""
    core = _CORES[settings.kind](texts, settings)
    first, last = (_id(core, role) for role in ("first", "last"))
    core.post_processor = processors.BertProcessing((_SPECIAL["last"], last), (_SPECIAL["first"], first))
    names = {KEYS[role][0]: token for role, token in _SPECIAL.items()}
    return Tokenizer(core, dict(_SPECIAL), {"tokenizer_class": "PreTrainedTokenizerFast", **names})


def unknown_share(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """The share of the texts' tokens that the tokenizer does not know, from 0 to 1."""
    if "unknown" not in tokenizer.special:
        return 0.0
    ids = np.concatenate([np.empty(0, np.int32), *(encoded.ids for encoded in tokenizer.encode(texts))])
    return float(np.mean(ids == tokenizer.id_of("unknown"))) if len(ids) else 0.0


def _bpe(texts: Texts, settings: TokenizerFromCorpus) -> tokenizers.Tokenizer:
    core = tokenizers.Tokenizer(models.BPE())
    core.normalizer, core.pre_tokenizer = _normalizer(settings), pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(texts(), _bpe_trainer(settings, pre_tokenizers.ByteLevel.alphabet()))
    return core


def _wordpiece(texts: Texts, settings: TokenizerFromCorpus) -> tokenizers.Tokenizer:
    pieces = tokenizers.Tokenizer(models.BPE(unk_token=_SPECIAL["unknown"]))
    pieces.normalizer, pieces.pre_tokenizer = _normalizer(settings), pre_tokenizers.BertPreTokenizer()
    pieces.train_from_iterator(texts(), _bpe_trainer(settings, []))
    # How often each piece starts a word, and how often it stands inside one.
    counts = np.zeros((2, pieces.get_vocab_size()), np.int64)
    source: Iterator[str] = iter(texts())
    while part := list(islice(source, _TEXTS)):
        for encoding in pieces.encode_batch(part, add_special_tokens=False):
            starts = word_starts(encoding.word_ids, longest=None)
            np.add.at(counts, (1 - starts.astype(np.int64), np.array(encoding.ids, np.int64)), 1)
    ranked = []
    for piece, number in pieces.get_vocab().items():
        if piece not in _SPECIAL.values():
            for inside, prefix in enumerate(("", "##")):
                if counts[inside, number] or len(piece) == 1:  # letters come first: with them no word is unknown
                    ranked.append((len(piece) > 1, -int(counts[inside, number]), f"{prefix}{piece}"))
    chosen = [*_SPECIAL.values(), *(piece for _, _, piece in sorted(ranked))][: settings.vocabulary]
    core = tokenizers.Tokenizer(models.WordPiece({p: n for n, p in enumerate(chosen)}, unk_token=_SPECIAL["unknown"]))
    core.normalizer, core.pre_tokenizer, core.decoder = pieces.normalizer, pieces.pre_tokenizer, decoders.WordPiece()
    core.add_special_tokens(list(_SPECIAL.values()))
    return core


def _unigram(texts: Texts, settings: TokenizerFromCorpus) -> tokenizers.Tokenizer:
    sentencepiece = importable("sentencepiece", "train")
    # Metaspace parts words at blanks only, so every other white space becomes one.
    blanks = [normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
    normalizer, model = normalizers.Sequence([_normalizer(settings), *blanks]), io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for line in map(normalizer.normalize_str, texts()) if line),
            model_writer=model,
            vocab_size=settings.vocabulary,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            split_by_unicode_script=True,
            max_sentence_length=1 << 20,
            input_sentence_size=1_000_000,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=3,
            **{f"{name}_piece": _SPECIAL[role] for name, role in (("pad", "pad"), ("unk", "unknown"))},
            bos_piece=_SPECIAL["first"],
            eos_piece=_SPECIAL["last"],
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            control_symbols=[_SPECIAL["mask"]],
        )
    except RuntimeError as error:
        raise DataError(f"no unigram tokenizer can be trained on this corpus: {error}") from error
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(trained.id_to_piece(number), trained.get_score(number)) for number in range(trained.get_piece_size())]
    core = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=1))
    core.normalizer, core.pre_tokenizer = normalizer, pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.add_special_tokens(list(_SPECIAL.values()))
    return core


_CORES = {"bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram}


def _bpe_trainer(settings: TokenizerFromCorpus, alphabet: list[str]) -> Any:
    return trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=list(_SPECIAL.values()),
        initial_alphabet=alphabet,
        show_progress=False,
    )


def _normalizer(settings: TokenizerFromCorpus) -> Any:
    steps: list[Any] = [normalizers.NFC()]
    steps += [normalizers.Lowercase()] * settings.lowercase
    steps += [normalizers.NFD(), normalizers.StripAccents()] * settings.strip_marks
    return normalizers.Sequence(steps)


def _id(core: tokenizers.Tokenizer, role: str) -> int:
    found = core.token_to_id(_SPECIAL[role])
    assert found is not None, f"the trainer lost {_SPECIAL[role]}"
    return int(found)
