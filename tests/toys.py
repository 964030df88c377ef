"""Small inputs of the tests: forty documents with judgments, a tokenizer, tiny models."""

from __future__ import annotations

import copy
import functools
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import (
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
)

from encloze.backbones.base import Backbone
from encloze.backbones.hf.loading import quiet_transformers
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse
from encloze.models.layers.masking import TokenBatch
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokenizer_training import TokenizerSettings, train_tokenizer
from encloze.text.tokens import pad_texts

_SUBJECTS = ("river", "engine", "violin", "comet", "bakery", "harbour", "glacier", "orchard", "library", "reactor")
_ASPECTS = {
    "history": "was first described long ago and {0} records from that age are rare and precious",
    "structure": "has many parts and every part of a {0} must fit the others with great care",
    "dangers": "can hurt people when nobody watches the {0} and warnings are ignored",
    "repair": "needs patient hands because a broken {0} is mended slowly with simple tools",
}


def documents() -> list[dict[str, object]]:
    """Forty documents about ten subjects; the four about a subject are neighbours."""
    return [
        {
            "_id": f"{subject}-{aspect}",
            "title": f"{subject} {aspect}",
            "text": f"A {subject} {text.format(subject)}.",
            "doc_id": subject,
            "position": position,
        }
        for subject in _SUBJECTS
        for position, (aspect, text) in enumerate(_ASPECTS.items())
    ]


def queries() -> list[dict[str, str]]:
    """One question for each document."""
    return [{"_id": f"q-{d['_id']}", "text": f"tell me about the {d['title']!s}"} for d in documents()]


def write_dataset(folder: Path, *, zipped: bool = False) -> Path:
    """The documents and questions in BEIR's layout; train, dev and test take 20, 10 and 10 questions."""
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus.jsonl", documents()), ("queries.jsonl", queries())):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text, encoding="utf-8")
    for split, part in (("train", slice(0, 20)), ("dev", slice(20, 30)), ("test", slice(30, 40))):
        lines = [f"{q['_id']}\t{q['_id'].removeprefix('q-')}\t1\n" for q in queries()[part]]
        (folder / "qrels" / f"{split}.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8"
        )
    return folder


def write_labelled(folder: Path, *, tagged: bool = False, dev: bool = True) -> Path:
    """The documents with their aspects as labels, or their words with their subjects as tagged entities."""
    folder.mkdir()
    for split, part in (("train", slice(0, 24)), ("dev", slice(24, 32)), ("test", slice(32, 40))):
        lines = []
        for document in documents()[part]:
            text, subject = str(document["text"]), str(document["doc_id"])
            if tagged:
                tags = [("B-SUBJECT" if word == subject else "O") for word in text.split()]
                lines.append("".join(f"{word} {tag}\n" for word, tag in zip(text.split(), tags, strict=True)) + "\n")
            else:
                lines.append(json.dumps({"text": text, "label": str(document["_id"]).partition("-")[2]}) + "\n")
        if dev or split != "dev":
            (folder / f"{split}.{'conll' if tagged else 'jsonl'}").write_text("".join(lines), encoding="utf-8")
    return folder


def texts() -> list[str]:
    return [f"{d['title']} {d['text']}" for d in documents()]


def tokenizer(kind: str = "wordpiece") -> Tokenizer:
    """A copy of the tokenizer that was trained on the documents."""
    return copy.deepcopy(trained_tokenizer(kind))


@functools.cache
def trained_tokenizer(kind: str) -> Tokenizer:
    """Train a tokenizer on the documents, once in a process."""
    return train_tokenizer(texts, TokenizerSettings(algorithm=kind, vocab_size=300))  # type: ignore[arg-type]


def backbone(vocabulary: int = 300, *, seed: int = 0, dropout: float = 0.0, layers: int = 2) -> Backbone:
    """A BERT of 32 numbers a token with random weights, without dropout unless asked."""
    torch.manual_seed(seed)
    return Backbone.from_config(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=0.1,
        )
    ).eval()


class OnlyMask:
    """A tokenizer of which only the mask token's id is asked: 4."""

    def special_id(self, role: str) -> int:
        return {"mask": 4}[role]


def encoder(kind: str, vocabulary: int, *, dropout: float = 0.0, seed: int = 0) -> Backbone:
    """A tiny encoder of any family, named as its file in backbones/, with random weights."""
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.1,
        "pad_token_id": 0,
    }
    drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    longer = {"max_position_embeddings": 65}  # positions are counted from the padding's number on
    relative = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}
    distilled = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
    distilled |= {"intermediate_size": "hidden_dim"}
    made: dict[str, Callable[[], PreTrainedConfig]] = {
        "bert": lambda: BertConfig(**sizes | drops),
        "roberta": lambda: RobertaConfig(**sizes | drops | longer),
        "xlm_roberta": lambda: XLMRobertaConfig(**sizes | drops | longer),
        "mpnet": lambda: MPNetConfig(**sizes | drops | longer),
        "distilbert": lambda: DistilBertConfig(
            **{distilled.get(name, name): value for name, value in sizes.items()},
            dropout=dropout,
            attention_dropout=dropout,
        ),
        "deberta_v2": lambda: DebertaV2Config(**sizes | drops | relative, type_vocab_size=0),
        "electra": lambda: ElectraConfig(**sizes | drops, embedding_size=16),
        "modernbert": lambda: ModernBertConfig(
            **sizes, mlp_dropout=dropout, attention_dropout=dropout, cls_token_id=2, sep_token_id=3
        ),
    }
    torch.manual_seed(seed)
    return Backbone.from_config(made[kind]()).eval()


def text_batches(made: Tokenizer) -> tuple[np.ndarray, Callable[[np.ndarray, int, torch.device], TokenBatch]]:
    """The lengths of the documents in tokens, and what makes batches of them for pre-training."""
    encoded = made.encode(texts())

    def make_batch(numbers: np.ndarray, epoch: int, device: torch.device) -> TokenBatch:
        padded = pad_texts([encoded[int(number)] for number in numbers], made, 64)
        ids, attention, words = (
            torch.from_numpy(array) for array in (padded.ids, padded.attention_mask, padded.word_ids)
        )
        return TokenBatch(ids, attention, words, torch.from_numpy(numbers), torch.from_numpy(numbers), 0, epoch)

    return np.array([len(text.ids) + 2 for text in encoded]), make_batch


def write_model(folder: Path, *, views: tuple[str, ...] = ()) -> Path:
    """Write a model folder as transformers does, with the toy tokenizer; with ``views``, as encloze does.

    The state of torch's generator of random numbers is afterwards that of a model just made.
    """
    files, random_state = model_files()
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    torch.set_rng_state(random_state)
    if views:
        heads = {"dense": Dense("cls", False), "sparse": Sparse()}
        EncoderConfig(tuple(heads[view] for view in views), max_document_tokens=64).write(folder)
    return folder


@functools.cache
def model_files() -> tuple[dict[str, bytes], torch.Tensor]:
    """Make the toy model, once in a process; return its files, and the state of torch's generator afterwards."""
    toy_tokenizer = tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        backbone(toy_tokenizer.vocab_size).save(Path(folder))
        toy_tokenizer.save(Path(folder), 64)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}, torch.get_rng_state()


def write_writer(folder: Path, kind: str = "t5") -> Path:
    """A folder with a tiny model that writes, t5, gpt2 or llama, with random weights."""
    made = tokenizer("unigram" if kind == "t5" else "bpe")
    pad, first, last = (made.special_id(role) for role in ("pad", "cls", "sep"))  # type: ignore[arg-type]
    ends = {"vocab_size": made.vocab_size, "pad_token_id": pad, "bos_token_id": first, "eos_token_id": last}
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    wide = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = {
        "t5": lambda: T5ForConditionalGeneration(T5Config(**ends, **sizes, decoder_start_token_id=pad)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**ends, n_embd=32, n_layer=2, n_head=2, n_positions=1024)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**ends, **wide, max_position_embeddings=1024)),
    }[kind]()
    folder.mkdir(parents=True)
    with quiet_transformers():
        model.save_pretrained(folder)
    made.save(folder, 1024)
    return folder


def save_to_disk(folder: Path, *tables: pa.Table) -> Path:
    """Write the files that ``datasets.Dataset.save_to_disk`` writes, with one file per table."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(tables):05}.arrow" for number in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder
