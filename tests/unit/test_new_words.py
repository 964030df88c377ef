"""Words that a tokenizer cuts to pieces become one token each, and nothing else changes: neither texts nor weights."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    ElectraConfig,
    PreTrainedConfig,
    RobertaConfig,
)

import toys
from encloze.backbones.base import Backbone
from encloze.errors import CheckpointError
from encloze.models.vocabulary import extend_vocabulary, with_new_words
from encloze.progress import Listener, listening
from encloze.text import new_words
from encloze.text.new_words import extended, frequent_words
from encloze.text.tokenizer import Tokenizer, word_starts
from encloze.text.training import TokenizerFromCorpus, train_tokenizer

KINDS = ["wordpiece", "unigram", "bpe"]
ALPHABET = [
    "the quick brown fox jumps over a lazy dog: sphinx of black quartz, judge my vow! (a) b-c 'd' e's 0123456789"
]
NEW = ["microcephaly", "lymphoma", "urethra", "lymph", "carcinoma"]
PARTS = ["river", "engines", "the", "(", ")", "-", ", ", " ", "  ", "'s", "7", "\n", "A glacier", "zzz", "ph", "oma"]


def made(kind: str) -> Tokenizer:
    """A tokenizer that knows all letters and signs, and words of the toys."""
    source = [*toys.texts(), *ALPHABET * 20]
    return train_tokenizer(lambda: source, TokenizerFromCorpus(kind=kind, vocabulary=340))  # type: ignore[arg-type]


BEFORE = {kind: made(kind) for kind in KINDS}
AFTER = {kind: extended(BEFORE[kind], NEW) for kind in KINDS}


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return [int(number) for number in tokenizer.encode([text])[0].ids]


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return [str(tokenizer.core.id_to_token(number)) for number in ids(tokenizer, text)]


def is_new(kind: str, number: int) -> bool:
    return number >= BEFORE[kind].size


def cut(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[bool]]:
    """Ids and where words start, however long they are."""
    encoding = tokenizer.core.encode(text, add_special_tokens=False)
    assert encoding.ids == ids(tokenizer, text)
    return list(encoding.ids), word_starts(encoding.word_ids, longest=None).tolist()


def pieces_of(kind: str, number: int) -> list[int]:
    """The old pieces of a new token."""
    return [piece.id for piece in BEFORE[kind].core.model.tokenize(AFTER[kind].core.id_to_token(number))]


# Which words


def literal(texts: list[str], tokenizer: Tokenizer, least_times: int) -> list[str]:
    """The definition, word by word."""
    counts = Counter(word for text in texts for word in re.findall("[a-z]+", text.lower()))
    pieces = {word: len(ids(tokenizer, f" {word}")) for word in counts}
    chosen = [word for word in counts if counts[word] >= least_times and 3 <= pieces[word] <= 12]
    return sorted(chosen, key=lambda word: (-counts[word] * (pieces[word] - 1), word))


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_ranked_by_the_pieces_they_would_save(kind: str) -> None:
    texts = (
        ["Lymphoma, urethra."] * 4
        + ["(microcephaly) lymphoma-URETHRA's x2y"] * 3
        + ["hypoplasia " * 5, "dysplasia " * 2]
    )
    expected = literal(texts, BEFORE[kind], 3)
    assert len(expected) == 4 and "dysplasia" not in expected
    assert frequent_words(iter(texts), BEFORE[kind], 100, least_times=3) == expected
    assert frequent_words(reversed(texts), BEFORE[kind], 2, least_times=3) == expected[:2]
    assert frequent_words(texts, BEFORE[kind], 100, least_times=3, least_pieces=13) == []


def test_pieces_saved_count_and_not_pieces() -> None:
    tokenizer, texts = BEFORE["wordpiece"], ["qzq"] * 15 + ["qzxqzx"] * 7
    assert [len(ids(tokenizer, word)) for word in ("qzq", "qzxqzx")] == [3, 6]  # 45 and 42 pieces, 30 and 35 saved
    assert frequent_words(texts, tokenizer, 9, least_times=7) == ["qzxqzx", "qzq"]


def test_equal_savings_come_in_the_order_of_the_words() -> None:
    tokenizer, texts = BEFORE["bpe"], ["zxqzxq xqzxqz qzxqzx"] * 5
    assert len({len(ids(tokenizer, f" {word}")) for word in texts[0].split()}) == 1
    assert frequent_words(texts, tokenizer, 2, least_times=5) == ["qzxqzx", "xqzxqz"]


def test_a_word_is_known_whole_or_rare_or_too_long() -> None:
    tokenizer = BEFORE["wordpiece"]
    assert len(ids(tokenizer, "violin")) == 1 and len(ids(tokenizer, "zxqj" * 4)) > 12
    texts = [f"violin {'zxqj' * 4} lymphoma"] * 20 + ["carcinoma"] * 9
    assert frequent_words(texts, tokenizer, 9) == ["lymphoma"]


def test_words_keep_their_marks() -> None:
    words = ["हिन्दी", "विद्यालय"]
    tokenizer = train_tokenizer(lambda: [" ".join("".join(words)), *words] * 9, TokenizerFromCorpus(vocabulary=100))
    texts = ["कहाँ हिन्दी, विद्यालय।"] * 10
    found = frequent_words(texts, tokenizer, 9)
    assert found and set(found) <= {*words, "कहाँ"}


def test_the_rarest_are_forgotten_where_words_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    rare = [f"{a}{b}{c}" for a in "qxz" for b in "vwkj" for c in "pfbg"]
    texts = [text for word in rare for text in (f"lymphoma {word}", "lymphoma urethra")]
    monkeypatch.setattr(new_words, "_MOST_WORDS", 10)
    held = []

    class Watched(Counter[str]):
        """Remembers how large it became."""

        def update(self, *given: object) -> None:  # type: ignore[override]
            super().update(*given)
            held.append(len(self))

    monkeypatch.setattr(new_words, "Counter", Watched)
    assert frequent_words(texts, BEFORE["bpe"], 9, least_times=20) == ["lymphoma", "urethra"]
    assert max(held) <= 12 < len(rare)


# The tokenizer that has them


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("around", ["{}", "a {} b", "({})", "{}, {}", "x-{}-y", "{}'s", "  {}\n{}\t{}", "7 {}. '{}'"])
def test_a_new_word_is_one_token_wherever_it_stands(kind: str, around: str) -> None:
    before, after = BEFORE[kind], AFTER[kind]
    for word in (*NEW, "Carcinoma", "URETHRA"):
        text = around.format(*[word] * around.count("{}"))
        found, starts = cut(after, text)
        fresh = [at for at, number in enumerate(found) if is_new(kind, number)]
        assert len(fresh) == around.count("{}")
        for at in fresh:
            token = str(after.core.id_to_token(found[at]))
            assert token.strip("▁Ġ") == word.lower() and (starts[at] or (kind == "unigram" and token[0] != "▁"))
        # What stands beside it is cut as before: with the old pieces in its place ids and starts are the old ones.
        with_pieces = [
            (piece, start and not at)
            for number, start in zip(found, starts, strict=True)
            for at, piece in enumerate(pieces_of(kind, number) if is_new(kind, number) else [number])
        ]
        assert with_pieces == list(zip(*cut(before, text), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_gives_the_text_back_as_before(kind: str) -> None:
    for text in ("a lymphoma (urethra), carcinoma-like: microcephaly's", "lymphomas and prelymph", "Lymph"):
        back = [str(made.core.decode(ids(made, text))) for made in (BEFORE[kind], AFTER[kind])]
        assert back[0] == back[1] and "".join(back[1].split()) == "".join(text.lower().split())


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(parts=st.lists(st.sampled_from(PARTS) | st.text(max_size=6), max_size=8))
def test_texts_without_the_words_are_cut_as_before(kind: str, parts: list[str]) -> None:
    text = "".join(parts)
    normal = BEFORE[kind].core.normalizer.normalize_str(text)
    assume(not any(word in normal for word in NEW))
    before, after = (made.encode([text])[0] for made in (BEFORE[kind], AFTER[kind]))
    assert before.ids.tolist() == after.ids.tolist() and before.starts.tolist() == after.starts.tolist()


def test_longer_words_change_as_the_kind_has_it() -> None:
    longer = "carcinomas"
    assert tokens(AFTER["wordpiece"], longer) == ["carcinoma", "##s"]
    assert ids(AFTER["bpe"], longer) == ids(BEFORE["bpe"], longer)
    assert tokens(AFTER["unigram"], longer) in (["▁carcinoma", "s"], tokens(BEFORE["unigram"], longer))
    assert tokens(AFTER["wordpiece"], "xlymph") == tokens(BEFORE["wordpiece"], "xlymph")
    assert tokens(AFTER["wordpiece"], "lymphomas") == [
        "lymphoma",
        "##s",
    ]  # not the shorter new word that it begins with


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_word_may_be_made_of_new_words(kind: str) -> None:
    words = ["car", "carcinoma", "oma", "carcinomas", "omacar", "noma"]
    after = extended(BEFORE[kind], words)
    for word in words:
        assert len(ids(after, word)) == len(ids(after, f"a {word}")) - len(ids(after, "a")) == 1
        assert len(ids(after, f"({word}")) == len(ids(after, "(")) + 1


def test_rounding_does_not_part_a_new_unigram_word() -> None:
    before, draw = BEFORE["unigram"], np.random.default_rng(0)
    halves = ["".join(draw.choice(list("qzxvkjw"), 4)) for _ in range(120)]
    words = list(dict.fromkeys([*halves, *(first + second for first, second in itertools.pairwise(halves))]))
    after = extended(before, words)
    for sign in ("(", "7-(", "(('", "9: ("):
        alone = len(ids(after, sign))
        assert [word for word in words if len(ids(after, sign + word)) != alone + 1] == []


def unigram(*pieces: tuple[str, float]) -> Tokenizer:
    """A tokenizer of pieces with scores."""
    core = tokenizers.Tokenizer(models.Unigram([("[UNK]", 0.0), ("▁", -1.0), *pieces], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    return Tokenizer(core, {"unknown": "[UNK]"}, {})


def test_a_longer_unigram_word_changes_only_where_it_was_cut_into_the_new_ones_pieces() -> None:
    before = unigram(("a", -5.0), ("b", -5.0), ("c", -5.0), ("s", -5.0), ("ab", -3.0), ("cs", -3.0))
    after = extended(before, ["abc"])
    assert tokens(after, "abc") == ["▁abc"] and tokens(after, "abca") == ["▁abc", "a"]
    assert tokens(after, "abcs") == tokens(before, "abcs") == ["▁", "ab", "cs"]


@pytest.mark.parametrize("kind", KINDS)
def test_new_ids_come_after_all_old_ones_which_stay(kind: str) -> None:
    before, after = (made.core.get_vocab() for made in (BEFORE[kind], AFTER[kind]))
    assert after | before == after
    fresh = sorted(number for token, number in after.items() if token not in before)
    assert fresh == list(range(len(before), len(before) + len(NEW) * (1 if kind == "wordpiece" else 2)))
    assert AFTER[kind].special == BEFORE[kind].special and extended(AFTER[kind], NEW).core.get_vocab() == after


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_that_were_added_before_keep_their_ids(kind: str, tmp_path: Path) -> None:
    before = made(kind)
    before.core.add_special_tokens(["[EXTRA]"])
    before.core.add_tokens(["qqq"])
    after = extended(before, NEW)
    after.save(tmp_path, 64)
    for tokenizer in (after, Tokenizer.load(tmp_path)):
        text = "[EXTRA] river qqq [EXTRA]"
        assert ids(tokenizer, text) == ids(before, text) and before.core.token_to_id("qqq") in ids(before, text)
        assert ids(tokenizer, "lymphoma")[0] >= before.size and len(ids(tokenizer, "lymphoma")) == 1
        assert tokenizer.core.id_to_token(before.core.token_to_id("[EXTRA]")) == "[EXTRA]"


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_it_the_same(kind: str, tmp_path: Path) -> None:
    classes = {"wordpiece": "BertTokenizer", "unigram": "PreTrainedTokenizerFast", "bpe": "RobertaTokenizer"}
    before = Tokenizer(
        BEFORE[kind].core, BEFORE[kind].special, {**BEFORE[kind].config, "tokenizer_class": classes[kind]}
    )
    extended(before, NEW).save(tmp_path, 64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("a lymphoma (urethra), the river", "carcinomas of rivers"):
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids(AFTER[kind], text)
    assert theirs.mask_token == "[MASK]" and theirs.mask_token_id == before.id_of("mask")
    first, *_, last = theirs("a river")["input_ids"]
    assert (first, last) == (before.id_of("first"), before.id_of("last"))


def test_what_cannot_have_new_words_is_refused() -> None:
    level = Tokenizer(tokenizers.Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")), {}, {})
    with pytest.raises(CheckpointError, match="tokenizer of the kind WordLevel"):
        extended(level, ["lymph"])
    for word in ("two words", "Capital"):
        with pytest.raises(CheckpointError, match=f"1 of 2 words cannot be one token .*among them {word}"):
            extended(BEFORE["bpe"], ["lymph", word])


# The model that has them

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CONFIGS: dict[str, tuple[str, type[PreTrainedConfig]]] = {
    "bert": ("wordpiece", BertConfig),
    "roberta": ("bpe", RobertaConfig),
    "electra": ("unigram", ElectraConfig),
}


def config(name: str, spare: int = 0, *, tied: bool = True) -> PreTrainedConfig:
    kind, of = CONFIGS[name]
    size = BEFORE[kind].size + spare
    return of(**SIZES, vocab_size=size, max_position_embeddings=70, tie_word_embeddings=tied, initializer_range=0.1)


def unlike(model: torch.nn.Module) -> torch.nn.Module:
    """The model with all parameters drawn, biases too, which begin as zeros."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.eval()


def mean_rows(table: torch.Tensor, kind: str) -> dict[int, torch.Tensor]:
    """The rows that new tokens should have, from their pieces in the old table."""
    pieces = {number: pieces_of(kind, number) for number in range(BEFORE[kind].size, AFTER[kind].size)}
    assert len(pieces) == len(NEW) * (1 if kind == "wordpiece" else 2)
    assert min(map(len, pieces.values())) > 1
    return {number: torch.stack([table[piece] for piece in of]).mean(0) for number, of in pieces.items()}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_new_rows_are_the_means_of_their_pieces(name: str, spare: int, tied: bool, tmp_path: Path) -> None:
    kind, _ = CONFIGS[name]
    model = unlike(AutoModelForMaskedLM.from_config(config(name, spare, tied=tied)))
    old = {key: value.clone() for key, value in model.state_dict().items()}
    text = torch.tensor([ids(BEFORE[kind], "the river (engine)")])
    logits = model(text).logits.detach()
    extend_vocabulary(model, BEFORE[kind], AFTER[kind])
    size = BEFORE[kind].size
    assert model.config.vocab_size == AFTER[kind].size > size + spare
    changed = 0
    for key, value in model.state_dict().items():
        assert torch.equal(value[:size], old[key][:size])  # the whole of it, where it has no row for each token
        if value.shape != old[key].shape:
            changed += 1
            assert len(value) == AFTER[kind].size
            for number, row in mean_rows(old[key], kind).items():
                torch.testing.assert_close(value[number], row)
    head = model.get_output_embeddings()
    assert (head.weight is model.get_input_embeddings().weight) == tied
    assert head.out_features == model.get_input_embeddings().num_embeddings == AFTER[kind].size
    assert changed >= 3  # embeddings, the head's matrix, its bias
    assert torch.equal(model(text).logits[..., :size], logits[..., :size])
    model.save_pretrained(tmp_path)
    loaded, said = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"]
    new = torch.tensor([ids(AFTER[kind], "a lymphoma")])
    assert torch.equal(loaded.eval()(new).logits, model(new).logits)
    model(new).logits.sum().backward()
    assert model.get_input_embeddings().weight.grad[-1].isfinite().all()


@pytest.mark.parametrize("name", CONFIGS)
def test_an_encoder_without_a_head_has_new_rows_too(name: str) -> None:
    kind, _ = CONFIGS[name]
    model = unlike(AutoModel.from_config(config(name))).bfloat16()
    old = model.get_input_embeddings().weight.detach().clone()
    extend_vocabulary(model, BEFORE[kind], AFTER[kind])
    table = model.get_input_embeddings().weight
    assert table.dtype == torch.bfloat16 and torch.equal(table[: len(old)], old)
    for number, row in mean_rows(old.float(), kind).items():
        assert torch.equal(table[number], row.bfloat16())


def test_rows_to_spare_are_taken_and_no_more(tmp_path: Path) -> None:
    model = unlike(AutoModelForMaskedLM.from_config(config("bert", 100)))
    extend_vocabulary(model, BEFORE["wordpiece"], AFTER["wordpiece"])
    assert model.config.vocab_size == BEFORE["wordpiece"].size + 100
    old = model.get_input_embeddings().weight.detach().clone()
    extend_vocabulary(model, AFTER["wordpiece"], AFTER["wordpiece"])
    assert torch.equal(model.get_input_embeddings().weight, old)


class Heard(Listener):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_backbone_is_given_the_words_of_a_corpus(name: str, tmp_path: Path) -> None:
    kind, _ = CONFIGS[name]
    backbone = Backbone.new(config(name))

    def texts() -> Iterator[str]:
        for number in range(1200):
            yield "a lymphoma of the urethra" if number % 2 else "the river"

    with listening(heard := Heard()):
        after = with_new_words(backbone, BEFORE[kind], texts, 2)
    assert isinstance(heard, Heard)
    was, now = (sum(len(ids(made, text)) for text in list(texts())[:2]) for made in (BEFORE[kind], after))
    shown = ", ".join(frequent_words(texts(), BEFORE[kind], 2))
    assert set(shown.split(", ")) == {"lymphoma", "urethra"}
    assert heard.notes == [
        f"2 words are one token each now: {shown}. The first 1,000 texts became {1 - now / was:.1%} shorter"
    ]
    assert backbone.config.vocab_size == after.size > BEFORE[kind].size
    backbone.save(tmp_path)
    after.save(tmp_path, 64)
    again = Backbone.load(tmp_path, need_head=True)
    assert not again.head_is_new and json.loads((tmp_path / "config.json").read_text())["vocab_size"] == after.size
    number = ids(after, "lymphoma")
    hidden = again.encode(torch.tensor([number]), torch.ones(1, len(number), dtype=torch.bool))
    assert np.isfinite(hidden.detach().numpy()).all()


def test_where_nothing_is_cut_nothing_changes() -> None:
    backbone = Backbone.new(config("bert"))
    with listening(heard := Heard()):
        assert with_new_words(backbone, BEFORE["wordpiece"], lambda: ["the river"], 9) is BEFORE["wordpiece"]
    assert isinstance(heard, Heard) and "stays as it is" in heard.notes[0]
    assert backbone.config.vocab_size == BEFORE["wordpiece"].size
