"""New words become single tokens; the tokens of other texts and the weights of existing tokens do not change."""

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
from encloze.models.vocabulary import add_frequent_words, extend_vocabulary
from encloze.progress import Listener, use_listener
from encloze.text import new_words
from encloze.text.new_words import extend_tokenizer, frequent_words
from encloze.text.tokenizer import Tokenizer, word_starts
from encloze.text.tokenizer_training import TokenizerSettings, train_tokenizer

KINDS = ["wordpiece", "unigram", "bpe"]
ALPHABET = [
    "the quick brown fox jumps over a lazy dog: sphinx of black quartz, judge my vow! (a) b-c 'd' e's 0123456789"
]
NEW = ["microcephaly", "lymphoma", "urethra", "lymph", "carcinoma"]
PARTS = ["river", "engines", "the", "(", ")", "-", ", ", " ", "  ", "'s", "7", "\n", "A glacier", "zzz", "ph", "oma"]


def made(kind: str) -> Tokenizer:
    """Return a tokenizer trained on the toy texts and all letters and signs."""
    source = [*toys.texts(), *ALPHABET * 20]
    return train_tokenizer(lambda: source, TokenizerSettings(algorithm=kind, vocab_size=340))  # type: ignore[arg-type]


BEFORE = {kind: made(kind) for kind in KINDS}
AFTER = {kind: extend_tokenizer(BEFORE[kind], NEW) for kind in KINDS}


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return [int(number) for number in tokenizer.encode([text])[0].ids]


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return [str(tokenizer.backend.id_to_token(number)) for number in ids(tokenizer, text)]


def is_new(kind: str, number: int) -> bool:
    return number >= BEFORE[kind].vocab_size


def ids_and_starts(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[bool]]:
    """Return ids and word starts, without a limit on the length of words."""
    encoding = tokenizer.backend.encode(text, add_special_tokens=False)
    assert encoding.ids == ids(tokenizer, text)
    return list(encoding.ids), word_starts(encoding.word_ids, max_pieces=None).tolist()


def pieces_of(kind: str, number: int) -> list[int]:
    """Return the ids of the old pieces of a new token."""
    return [piece.id for piece in BEFORE[kind].backend.model.tokenize(AFTER[kind].backend.id_to_token(number))]


# Selection of words


def reference(texts: list[str], tokenizer: Tokenizer, min_count: int) -> list[str]:
    """Return the words by their definition, computed one by one."""
    counts = Counter(word for text in texts for word in re.findall("[a-z]+", text.lower()))
    pieces = {word: len(ids(tokenizer, f" {word}")) for word in counts}
    chosen = [word for word in counts if counts[word] >= min_count and 3 <= pieces[word] <= 12]
    return sorted(chosen, key=lambda word: (-counts[word] * (pieces[word] - 1), word))


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_ranked_by_saved_tokens(kind: str) -> None:
    texts = (
        ["Lymphoma, urethra."] * 4
        + ["(microcephaly) lymphoma-URETHRA's x2y"] * 3
        + ["hypoplasia " * 5, "dysplasia " * 2]
    )
    expected = reference(texts, BEFORE[kind], 3)
    assert len(expected) == 4 and "dysplasia" not in expected
    assert frequent_words(iter(texts), BEFORE[kind], 100, min_count=3) == expected
    assert frequent_words(reversed(texts), BEFORE[kind], 2, min_count=3) == expected[:2]
    assert frequent_words(texts, BEFORE[kind], 100, min_count=3, min_pieces=13) == []


def test_ranking_uses_saved_tokens_instead_of_tokens() -> None:
    tokenizer, texts = BEFORE["wordpiece"], ["qzq"] * 15 + ["qzxqzx"] * 7
    assert [len(ids(tokenizer, word)) for word in ("qzq", "qzxqzx")] == [3, 6]  # 45 and 42 pieces, 30 and 35 saved
    assert frequent_words(texts, tokenizer, 9, min_count=7) == ["qzxqzx", "qzq"]


def test_ties_are_in_alphabetical_order() -> None:
    tokenizer, texts = BEFORE["bpe"], ["zxqzxq xqzxqz qzxqzx"] * 5
    assert len({len(ids(tokenizer, f" {word}")) for word in texts[0].split()}) == 1
    assert frequent_words(texts, tokenizer, 2, min_count=5) == ["qzxqzx", "xqzxqz"]


def test_known_rare_and_too_long_words_are_excluded() -> None:
    tokenizer = BEFORE["wordpiece"]
    assert len(ids(tokenizer, "violin")) == 1 and len(ids(tokenizer, "zxqj" * 4)) > 12
    texts = [f"violin {'zxqj' * 4} lymphoma"] * 20 + ["carcinoma"] * 9
    assert frequent_words(texts, tokenizer, 9) == ["lymphoma"]


def test_words_keep_combining_marks() -> None:
    words = ["हिन्दी", "विद्यालय"]
    tokenizer = train_tokenizer(lambda: [" ".join("".join(words)), *words] * 9, TokenizerSettings(vocab_size=100))
    texts = ["कहाँ हिन्दी, विद्यालय।"] * 10
    found = frequent_words(texts, tokenizer, 9)
    assert found and set(found) <= {*words, "कहाँ"}


def test_counts_of_rare_words_are_discarded_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rare = [f"{a}{b}{c}" for a in "qxz" for b in "vwkj" for c in "pfbg"]
    texts = [text for word in rare for text in (f"lymphoma {word}", "lymphoma urethra")]
    monkeypatch.setattr(new_words, "MAX_COUNTED_WORDS", 10)
    sizes = []

    class RecordingCounter(Counter[str]):
        """Records its size after each update."""

        def update(self, *given: object) -> None:  # type: ignore[override]
            super().update(*given)
            sizes.append(len(self))

    monkeypatch.setattr(new_words, "Counter", RecordingCounter)
    assert frequent_words(texts, BEFORE["bpe"], 9, min_count=20) == ["lymphoma", "urethra"]
    assert max(sizes) <= 12 < len(rare)


# Extended tokenizers


TEMPLATES = ["{}", "a {} b", "({})", "{}, {}", "x-{}-y", "{}'s", "  {}\n{}\t{}", "7 {}. '{}'"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_word_is_one_token_in_any_context(kind: str) -> None:
    before, after = BEFORE[kind], AFTER[kind]
    for template, word in itertools.product(TEMPLATES, (*NEW, "Carcinoma", "URETHRA")):
        text = template.format(*[word] * template.count("{}"))
        text_ids, starts = ids_and_starts(after, text)
        new = [index for index, number in enumerate(text_ids) if is_new(kind, number)]
        assert len(new) == template.count("{}")
        for index in new:
            token = str(after.backend.id_to_token(text_ids[index]))
            assert token.strip("▁Ġ") == word.lower() and (starts[index] or (kind == "unigram" and token[0] != "▁"))
        # With the old pieces in place of the new token, ids and word starts are those of the original tokenizer.
        with_pieces = [
            (piece, start and not index)
            for number, start in zip(text_ids, starts, strict=True)
            for index, piece in enumerate(pieces_of(kind, number) if is_new(kind, number) else [number])
        ]
        assert with_pieces == list(zip(*ids_and_starts(before, text), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_is_unchanged(kind: str) -> None:
    for text in ("a lymphoma (urethra), carcinoma-like: microcephaly's", "lymphomas and prelymph", "Lymph"):
        back = [str(made.backend.decode(ids(made, text))) for made in (BEFORE[kind], AFTER[kind])]
        assert back[0] == back[1] and "".join(back[1].split()) == "".join(text.lower().split())


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(parts=st.lists(st.sampled_from(PARTS) | st.text(max_size=6), max_size=8))
def test_texts_without_new_words_are_tokenized_as_before(kind: str, parts: list[str]) -> None:
    text = "".join(parts)
    normal = BEFORE[kind].backend.normalizer.normalize_str(text)
    assume(not any(word in normal for word in NEW))
    before, after = (made.encode([text])[0] for made in (BEFORE[kind], AFTER[kind]))
    assert before.ids.tolist() == after.ids.tolist() and before.word_starts.tolist() == after.word_starts.tolist()


def test_effect_on_longer_words_depends_on_the_algorithm() -> None:
    longer = "carcinomas"
    assert tokens(AFTER["wordpiece"], longer) == ["carcinoma", "##s"]
    assert ids(AFTER["bpe"], longer) == ids(BEFORE["bpe"], longer)
    assert tokens(AFTER["unigram"], longer) in (["▁carcinoma", "s"], tokens(BEFORE["unigram"], longer))
    assert tokens(AFTER["wordpiece"], "xlymph") == tokens(BEFORE["wordpiece"], "xlymph")
    assert tokens(AFTER["wordpiece"], "lymphomas") == [
        "lymphoma",
        "##s",
    ]  # not the shorter new word lymph


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_word_may_consist_of_new_words(kind: str) -> None:
    words = ["car", "carcinoma", "oma", "carcinomas", "omacar", "noma"]
    after = extend_tokenizer(BEFORE[kind], words)
    for word in words:
        assert len(ids(after, word)) == len(ids(after, f"a {word}")) - len(ids(after, "a")) == 1
        assert len(ids(after, f"({word}")) == len(ids(after, "(")) + 1


def test_rounding_does_not_split_a_new_unigram_word() -> None:
    before, draw = BEFORE["unigram"], np.random.default_rng(0)
    halves = ["".join(draw.choice(list("qzxvkjw"), 4)) for _ in range(120)]
    words = list(dict.fromkeys([*halves, *(first + second for first, second in itertools.pairwise(halves))]))
    after = extend_tokenizer(before, words)
    for sign in ("(", "7-(", "(('", "9: ("):
        alone = len(ids(after, sign))
        assert [word for word in words if len(ids(after, sign + word)) != alone + 1] == []


def unigram(*pieces: tuple[str, float]) -> Tokenizer:
    """Return a unigram tokenizer with these pieces and scores."""
    core = tokenizers.Tokenizer(models.Unigram([("[UNK]", 0.0), ("▁", -1.0), *pieces], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    return Tokenizer(core, {"unk": "[UNK]"}, {})


def test_a_longer_unigram_word_changes_only_if_it_had_the_pieces_of_the_new_word() -> None:
    before = unigram(("a", -5.0), ("b", -5.0), ("c", -5.0), ("s", -5.0), ("ab", -3.0), ("cs", -3.0))
    after = extend_tokenizer(before, ["abc"])
    assert tokens(after, "abc") == ["▁abc"] and tokens(after, "abca") == ["▁abc", "a"]
    assert tokens(after, "abcs") == tokens(before, "abcs") == ["▁", "ab", "cs"]


@pytest.mark.parametrize("kind", KINDS)
def test_new_ids_follow_the_old_ones_which_are_unchanged(kind: str) -> None:
    before, after = (made.backend.get_vocab() for made in (BEFORE[kind], AFTER[kind]))
    assert after | before == after
    fresh = sorted(number for token, number in after.items() if token not in before)
    assert fresh == list(range(len(before), len(before) + len(NEW) * (1 if kind == "wordpiece" else 2)))
    assert (
        AFTER[kind].special_tokens == BEFORE[kind].special_tokens
        and extend_tokenizer(AFTER[kind], NEW).backend.get_vocab() == after
    )


@pytest.mark.parametrize("kind", KINDS)
def test_added_tokens_keep_their_ids(kind: str, tmp_path: Path) -> None:
    before = made(kind)
    before.backend.add_special_tokens(["[EXTRA]"])
    before.backend.add_tokens(["qqq"])
    after = extend_tokenizer(before, NEW)
    after.save(tmp_path, 64)
    for tokenizer in (after, Tokenizer.load(tmp_path)):
        text = "[EXTRA] river qqq [EXTRA]"
        assert ids(tokenizer, text) == ids(before, text) and before.backend.token_to_id("qqq") in ids(before, text)
        assert ids(tokenizer, "lymphoma")[0] >= before.vocab_size and len(ids(tokenizer, "lymphoma")) == 1
        assert tokenizer.backend.id_to_token(before.backend.token_to_id("[EXTRA]")) == "[EXTRA]"


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_an_extended_tokenizer(kind: str, tmp_path: Path) -> None:
    classes = {"wordpiece": "BertTokenizer", "unigram": "PreTrainedTokenizerFast", "bpe": "RobertaTokenizer"}
    before = Tokenizer(
        BEFORE[kind].backend, BEFORE[kind].special_tokens, {**BEFORE[kind].config, "tokenizer_class": classes[kind]}
    )
    extend_tokenizer(before, NEW).save(tmp_path, 64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("a lymphoma (urethra), the river", "carcinomas of rivers"):
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids(AFTER[kind], text)
    assert theirs.mask_token == "[MASK]" and theirs.mask_token_id == before.special_id("mask")
    first, *_, last = theirs("a river")["input_ids"]
    assert (first, last) == (before.special_id("cls"), before.special_id("sep"))


def test_words_that_cannot_be_added_are_an_error() -> None:
    level = Tokenizer(tokenizers.Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")), {}, {})
    with pytest.raises(CheckpointError, match="tokenizer with a WordLevel model"):
        extend_tokenizer(level, ["lymph"])
    for word in ("two words", "Capital"):
        with pytest.raises(CheckpointError, match=f"1 of 2 words cannot be one token .*for example {word}"):
            extend_tokenizer(BEFORE["bpe"], ["lymph", word])


# Models with an extended vocabulary

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CONFIGS: dict[str, tuple[str, type[PreTrainedConfig]]] = {
    "bert": ("wordpiece", BertConfig),
    "roberta": ("bpe", RobertaConfig),
    "electra": ("unigram", ElectraConfig),
}


def config(name: str, spare: int = 0, *, tied: bool = True) -> PreTrainedConfig:
    kind, of = CONFIGS[name]
    size = BEFORE[kind].vocab_size + spare
    return of(**SIZES, vocab_size=size, max_position_embeddings=70, tie_word_embeddings=tied, initializer_range=0.1)


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model with random parameters, including biases, which are initialized to 0."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.eval()


def mean_rows(table: torch.Tensor, kind: str) -> dict[int, torch.Tensor]:
    """Return the expected rows of the new tokens: means of the rows of their pieces."""
    pieces = {number: pieces_of(kind, number) for number in range(BEFORE[kind].vocab_size, AFTER[kind].vocab_size)}
    assert len(pieces) == len(NEW) * (1 if kind == "wordpiece" else 2)
    assert min(map(len, pieces.values())) > 1
    return {number: torch.stack([table[piece] for piece in of]).mean(0) for number, of in pieces.items()}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_new_rows_are_the_means_of_their_pieces(name: str, spare: int, tied: bool, tmp_path: Path) -> None:
    kind, _ = CONFIGS[name]
    model = randomized(AutoModelForMaskedLM.from_config(config(name, spare, tied=tied)))
    old = {key: value.clone() for key, value in model.state_dict().items()}
    text = torch.tensor([ids(BEFORE[kind], "the river (engine)")])
    logits = model(text).logits.detach()
    extend_vocabulary(model, BEFORE[kind], AFTER[kind])
    size = BEFORE[kind].vocab_size
    assert model.config.vocab_size == AFTER[kind].vocab_size > size + spare
    changed = 0
    for key, value in model.state_dict().items():
        assert torch.equal(value[:size], old[key][:size])  # or the whole value, if it has no row per token
        if value.shape != old[key].shape:
            changed += 1
            assert len(value) == AFTER[kind].vocab_size
            for number, row in mean_rows(old[key], kind).items():
                torch.testing.assert_close(value[number], row)
    head = model.get_output_embeddings()
    assert (head.weight is model.get_input_embeddings().weight) == tied
    assert head.out_features == model.get_input_embeddings().num_embeddings == AFTER[kind].vocab_size
    assert changed >= 3  # embeddings, the head's matrix, its bias
    # Products with another number of columns may add in another order, so the last bits can differ.
    torch.testing.assert_close(model(text).logits[..., :size], logits[..., :size], rtol=1e-5, atol=1e-5)
    model.save_pretrained(tmp_path)
    loaded, said = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"]
    new = torch.tensor([ids(AFTER[kind], "a lymphoma")])
    assert torch.equal(loaded.eval()(new).logits, model(new).logits)
    model(new).logits.sum().backward()
    assert model.get_input_embeddings().weight.grad[-1].isfinite().all()


@pytest.mark.parametrize("name", CONFIGS)
def test_an_encoder_without_mlm_head_is_extended(name: str) -> None:
    kind, _ = CONFIGS[name]
    model = randomized(AutoModel.from_config(config(name))).bfloat16()
    old = model.get_input_embeddings().weight.detach().clone()
    extend_vocabulary(model, BEFORE[kind], AFTER[kind])
    table = model.get_input_embeddings().weight
    assert table.dtype == torch.bfloat16 and torch.equal(table[: len(old)], old)
    for number, row in mean_rows(old.float(), kind).items():
        assert torch.equal(table[number], row.bfloat16())


def test_unused_rows_are_used_first(tmp_path: Path) -> None:
    model = randomized(AutoModelForMaskedLM.from_config(config("bert", 100)))
    extend_vocabulary(model, BEFORE["wordpiece"], AFTER["wordpiece"])
    assert model.config.vocab_size == BEFORE["wordpiece"].vocab_size + 100
    old = model.get_input_embeddings().weight.detach().clone()
    extend_vocabulary(model, AFTER["wordpiece"], AFTER["wordpiece"])
    assert torch.equal(model.get_input_embeddings().weight, old)


class RecordingListener(Listener):
    """Records the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("name", CONFIGS)
def test_frequent_words_of_a_corpus_are_added_to_a_backbone(name: str, tmp_path: Path) -> None:
    kind, _ = CONFIGS[name]
    backbone = Backbone.from_config(config(name))

    def texts() -> Iterator[str]:
        for number in range(1200):
            yield "a lymphoma of the urethra" if number % 2 else "the river"

    with use_listener(listener := RecordingListener()):
        after = add_frequent_words(backbone, BEFORE[kind], texts, 2)
    assert isinstance(listener, RecordingListener)
    was, now = (sum(len(ids(made, text)) for text in list(texts())[:2]) for made in (BEFORE[kind], after))
    shown = ", ".join(frequent_words(texts(), BEFORE[kind], 2))
    assert set(shown.split(", ")) == {"lymphoma", "urethra"}
    assert listener.notes == [
        f"2 words added to the vocabulary: {shown}. The first 1,000 texts have {1 - now / was:.1%} fewer tokens"
    ]
    assert backbone.config.vocab_size == after.vocab_size > BEFORE[kind].vocab_size
    backbone.save(tmp_path)
    after.save(tmp_path, 64)
    again = Backbone.load(tmp_path, require_mlm_head=True)
    assert (
        not again.mlm_head_is_new
        and json.loads((tmp_path / "config.json").read_text())["vocab_size"] == after.vocab_size
    )
    number = ids(after, "lymphoma")
    hidden = again.encode(torch.tensor([number]), torch.ones(1, len(number), dtype=torch.bool))
    assert np.isfinite(hidden.detach().numpy()).all()


def test_nothing_changes_without_split_words() -> None:
    backbone = Backbone.from_config(config("bert"))
    with use_listener(listener := RecordingListener()):
        assert add_frequent_words(backbone, BEFORE["wordpiece"], lambda: ["the river"], 9) is BEFORE["wordpiece"]
    assert isinstance(listener, RecordingListener) and "vocabulary does not change" in listener.notes[0]
    assert backbone.config.vocab_size == BEFORE["wordpiece"].vocab_size
