"""Vectors and scores of folders of sentence-transformers equal those of sentence-transformers, or they are refused."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import AutoModelForSequenceClassification

import toys
from encloze import Corpus, Encoder, Retriever
from encloze.backbones.hf.loading import quiet_transformers
from encloze.errors import CheckpointError
from encloze.models.cross_encoder import CrossEncoder
from encloze.progress import Listener, use_listener
from encloze.text.tokenizer import Tokenizer
from encloze.text.tokenizer_training import TokenizerSettings, train_tokenizer

TEXTS = [
    *toys.texts()[::8],
    "",
    "River",
    "THE GLACIER MUST FIT",
    "Ünïcödé, שלום, ЁЛКА and 東京!",
    "a [SEP] river [MASK]",
    "a river and an engine must fit " * 30,
]
PAIRS = [
    ("a river", "The RIVER has many parts"),
    ("Engine dangers " * 20, "a broken engine is mended slowly with simple tools " * 9),
    ("glacier " * 15, "a comet"),
    ("glacier dangers and repair " * 6, "orchard repair needs patient hands " * 4),
    ("glacier dangers", ""),
    ("", "violin"),
]
Change = Callable[[Path], None]
FAMILIES = ("bert", "roberta", "xlm_roberta", "distilbert", "mpnet", "electra", "deberta_v2", "modernbert")
ALGORITHMS = {"roberta": "bpe", "xlm_roberta": "unigram", "modernbert": "bpe", "deberta_v2": "unigram"}


class SilentListener(Listener):
    """Ignores notes and warnings, such as the one that long texts are truncated."""

    def warn(self, text: str) -> None:
        """Ignore the warning."""

    def note(self, text: str) -> None:
        """Ignore the note."""


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Skip the tests if sentence-transformers is not installed, and ignore warnings that are intended here."""
    pytest.importorskip("sentence_transformers")
    with use_listener(SilentListener()):
        yield


# Folders


@functools.cache
def cased_tokenizer(algorithm: str) -> Tokenizer:
    """A tokenizer that keeps the case of letters, also of text in several scripts."""
    texts = [*toys.texts(), *TEXTS] * 2
    return train_tokenizer(lambda: texts, TokenizerSettings(algorithm=algorithm, vocab_size=320, lowercase=False))  # type: ignore[arg-type]


def write_json(file: Path, value: object) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def edit(name: str, **changes: Any) -> Change:
    """Return a change that sets fields of a JSON file; a field that is set to ``...`` is removed."""

    def change(folder: Path) -> None:
        values = json.loads((folder / name).read_text("utf-8")) if (folder / name).is_file() else {}
        values = {key: value for key, value in (values | changes).items() if value is not ...}
        write_json(folder / name, values)

    return change


def remove(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def template(single: str, pair: str = "[CLS] $A [SEP] $B:1 [SEP]:1") -> Change:
    """Return a change of the special tokens that the tokenizer adds."""

    def change(folder: Path) -> None:
        file = folder / "tokenizer.json"
        tokenizer = Tokenizer.load(folder)
        tokens = [(name, tokenizer.backend.token_to_id(name)) for name in ("[CLS]", "[SEP]", "[MASK]")]
        tokenizer.backend.post_processor = processors.TemplateProcessing(single, pair, tokens)
        tokenizer.backend.save(str(file))

    return change


def modules(*kinds: str, kwargs: object = None) -> Change:
    """Return a change of modules.json."""
    rows = [
        {"idx": n, "name": str(n), "path": "" if kind == "Transformer" else f"{n}_{kind}"}
        | {"type": f"sentence_transformers.models.{kind}"}
        | ({} if kwargs is None else {"kwargs": kwargs})
        for n, kind in enumerate(("Transformer", *kinds))
    ]
    return lambda folder: write_json(folder / "modules.json", rows)


def weights(change_weights: Callable[[dict[str, torch.Tensor]], None]) -> Change:
    """Return a change of the weights."""

    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change_weights(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def projection(activation: str, *, bias: bool, **settings: object) -> Change:
    """Return a change that writes the module Dense behind Pooling."""

    def change(folder: Path) -> None:
        (folder / "2_Dense").mkdir()
        shape = {"in_features": 32, "out_features": 8, "bias": bias, "activation_function": activation}
        write_json(folder / "2_Dense" / "config.json", shape | settings)
        torch.manual_seed(1)
        tensors = {"linear.weight": torch.randn(8, 32), **({"linear.bias": torch.randn(8)} if bias else {})}
        save_file(tensors, folder / "2_Dense" / "model.safetensors", metadata={"format": "pt"})

    return change


@functools.cache
def base_files(family: str, kind: str) -> dict[str, bytes]:
    """Return the files of a tiny bi-encoder or cross-encoder of a family, as other programs write them."""
    import tempfile

    tokenizer = cased_tokenizer(ALGORITHMS.get(family, "wordpiece"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toys.encoder(family, tokenizer.vocab_size).save(folder)
        if kind == "cross":
            torch.manual_seed(3)
            with quiet_transformers():
                model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
                for parameter in model.parameters():  # larger scores, which differ more
                    torch.nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else None
                model.save_pretrained(folder)
        tokenizer.save(folder, 60)
        if kind == "bi":
            modules("Pooling", "Normalize")(folder)
            write_json(folder / "1_Pooling/config.json", {"embedding_dimension": 32, "pooling_mode": "mean"})
            write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "find: ", "document": ""}})
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def write_folder(folder: Path, family: str, changes: tuple[Change, ...], kind: str = "bi") -> Path:
    for name, content in base_files(family, kind).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for change in changes:
        change(folder)
    return folder


# Bi-encoders

CONFIG, TOKENIZER, TRANSFORMER = "config.json", "tokenizer_config.json", "sentence_bert_config.json"
POOLING, SAVED = "1_Pooling/config.json", "config_sentence_transformers.json"
FLAGS = {f"pooling_mode_{key}": False for key in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")}
BERT_TOKENIZER = remove(TOKENIZER)
TANH, IDENTITY = "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity"
TEXT_ONLY = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}


def pooling(mode: object) -> Change:
    return edit(POOLING, pooling_mode=mode)


def flags(*names: str) -> Change:
    return edit(POOLING, pooling_mode=..., **{**FLAGS, **{f"pooling_mode_{name}": True for name in names}})


def rename_special_tokens(folder: Path) -> None:
    """Make config files as those of bert-base-uncased on the hub: without special tokens."""
    write_json(folder / TOKENIZER, {"do_lower_case": True, "model_max_length": 512})


def bpe_dropout(folder: Path) -> None:
    """Make the tokenizer split words at random."""
    model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    edit("tokenizer.json", model=model | {"dropout": 0.3})(folder)


class Variant(NamedTuple):
    """A folder, and the text of the error if it is refused."""

    changes: tuple[Change, ...] = ()
    family: str = "bert"
    refused: str = ""


EQUAL = {
    **{f"family {family}": Variant(family=family) for family in FAMILIES},
    **{f"cls, {family}": Variant((pooling("cls"), modules("Pooling")), family) for family in FAMILIES},
    **{f"max, {family}": Variant((pooling("max"), modules("Pooling")), family) for family in FAMILIES[1:]},
    **{
        f"left truncation at 12, {family}": Variant(
            (edit(TOKENIZER, truncation_side="left"), edit(TRANSFORMER, max_seq_length=12)), family
        )
        for family in FAMILIES
    },
    **{f"no template, {family}": Variant((template("$A"),), family) for family in ("bert", "roberta", "modernbert")},
    "pooling max, not normalized": Variant((pooling("max"), modules("Pooling"))),
    "pooling as a list": Variant((pooling(["cls"]),)),
    "pooling by old flags": Variant((flags("max_tokens"),)),
    "no pooling method is mean": Variant((edit(POOLING, pooling_mode=...),)),
    "no old flag is mean": Variant((flags(),)),
    "pooling_mode wins over old flags": Variant((flags("cls_token"), pooling("max"))),
    "old name of the dimension": Variant((edit(POOLING, embedding_dimension=..., word_embedding_dimension=32),)),
    "prompt is part of pooling": Variant((edit(POOLING, include_prompt=True),)),
    "prompt is not part of pooling, without prompts": Variant(
        (edit(POOLING, include_prompt=False), edit(SAVED, prompts={"query": "", "other": "x "}))
    ),
    "cosine without Normalize": Variant((modules("Pooling"), edit(SAVED, similarity_fn_name="cosine"))),
    "cosine by default": Variant((modules("Pooling"), remove(SAVED))),
    "cosine if null": Variant((modules("Pooling"), edit(SAVED, similarity_fn_name=None))),
    "dot without Normalize": Variant((modules("Pooling"), edit(SAVED, similarity_fn_name="dot"))),
    "dot with Normalize": Variant((edit(SAVED, similarity_fn_name="dot"),)),
    "cosine, cls, roberta": Variant((modules("Pooling"), pooling("cls")), "roberta"),
    "document prompt": Variant((edit(SAVED, prompts={"document": "Read This: "}),)),
    "prompts are null": Variant((edit(SAVED, prompts={"query": None, "document": None}),)),
    "an empty passage prompt": Variant((edit(SAVED, prompts={"query": "q: ", "passage": ""}),)),
    "a passage prompt beside a document prompt": Variant((edit(SAVED, prompts={"document": "d: ", "passage": "p: "}),)),
    "default prompt": Variant((edit(SAVED, default_prompt_name="query"),)),
    "default prompt with a name of its own": Variant((edit(SAVED, prompts={"sts": "x: "}, default_prompt_name="sts"),)),
    "Dense with tanh and bias": Variant((modules("Pooling", "Dense", "Normalize"), projection(TANH, bias=True))),
    "Dense without bias, not normalized": Variant(
        (modules("Pooling", "Dense"), projection(IDENTITY, bias=False, module_input_name="sentence_embedding"))
    ),
    "Dense with bias, cls, roberta": Variant(
        (modules("Pooling", "Dense"), pooling("cls"), projection(IDENTITY, bias=True)), "roberta"
    ),
    "max_seq_length 10": Variant((edit(TRANSFORMER, max_seq_length=10),)),
    "max_seq_length above model_max_length": Variant(
        (edit(TRANSFORMER, max_seq_length=30), edit(TOKENIZER, model_max_length=9))
    ),
    "model_max_length alone": Variant((edit(TOKENIZER, model_max_length=9),)),
    "model_max_length above the encoder": Variant((edit(TOKENIZER, model_max_length=10**30),)),
    "max_seq_length above the encoder": Variant((edit(TRANSFORMER, max_seq_length=999),)),
    "special tokens in texts are split": Variant((edit(TOKENIZER, split_special_tokens=True),)),
    "query_length and document_length": Variant((edit(TRANSFORMER, query_length=7, document_length=11),)),
    "query_length beside max_seq_length": Variant((edit(TRANSFORMER, query_length=20, max_seq_length=11),)),
    "legacy file name": Variant((edit("sentence_roberta_config.json", max_seq_length=8),)),
    "first of two file names": Variant(
        (edit("sentence_roberta_config.json", max_seq_length=8), edit(TRANSFORMER, max_seq_length=13))
    ),
    "lower case, wordpiece": Variant((edit(TRANSFORMER, do_lower_case=True),)),
    "lower case, bpe": Variant((edit(TRANSFORMER, do_lower_case=True),), "roberta"),
    "lower case, unigram": Variant((edit(TRANSFORMER, do_lower_case=True),), "xlm_roberta"),
    "saved by version 6": Variant(
        (
            edit(TRANSFORMER, transformer_task="feature-extraction", modality_config=TEXT_ONLY),
            edit(TRANSFORMER, module_output_name="token_embeddings", unpad_inputs=False, model_args={}),
        )
    ),
    "first token only": Variant((template("[CLS] $A"),)),
    "last token only": Variant((template("$A [SEP]"),)),
    "last token only, cls, left truncation": Variant(
        (template("$A [SEP]"), pooling("cls"), edit(TOKENIZER, truncation_side="left", model_max_length=9))
    ),
    "three special tokens": Variant((template("[CLS] [MASK] $A [SEP]"), edit(TRANSFORMER, max_seq_length=9))),
    "no template, max": Variant((template("$A"), pooling("max"), edit(SAVED, prompts={"query": "q", "document": "d"}))),
    "tokenizer class of BERT": Variant((edit(TOKENIZER, tokenizer_class="BertTokenizer", do_lower_case=False),)),
    "tokenizer class of BERT, lower case": Variant((edit(TOKENIZER, tokenizer_class="BertTokenizer"),)),
    "tokenizer class of BERT, accents stripped": Variant(
        (edit(TOKENIZER, tokenizer_class="BertTokenizer", strip_accents=True, do_lower_case=False),)
    ),
    "no names of special tokens": Variant((rename_special_tokens,)),
    "no tokenizer_config.json": Variant((remove(TOKENIZER),)),
    "truncation in tokenizer.json": Variant(
        (
            edit(
                "tokenizer.json",
                truncation={"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
            ),
            edit(TOKENIZER, model_max_length=12),
        )
    ),
    "float16 weights": Variant(
        (
            weights(lambda tensors: tensors.update({name: value.half() for name, value in tensors.items()})),
            edit(CONFIG, dtype="float16"),
        )
    ),
    "outputs as tuples": Variant((edit(CONFIG, return_dict=False),)),
    "token types are not passed": Variant((edit(TOKENIZER, model_input_names=["input_ids", "attention_mask"]),)),
    "code of the folder is not used": Variant((edit(CONFIG, auto_map={"AutoModel": "code.Model"}),)),
}
REFUSED = {
    "left padding": Variant((edit(TOKENIZER, padding_side="left"),), refused="padding_side"),
    "no attention mask": Variant((edit(TOKENIZER, model_input_names=["input_ids"]),), refused="model_input_names"),
    "token type 1": Variant((template("[CLS]:0 $A:1 [SEP]:1"),), refused="token type"),
    "weighted mean": Variant((pooling("weightedmean"),), refused="pooling_mode"),
    "two pooling methods": Variant((pooling(["cls", "mean"]),), refused="pooling_mode"),
    "two old flags": Variant((flags("cls_token", "mean_tokens"),), refused="cls and mean"),
    "an old flag of another method": Variant((flags("mean_sqrt_len_tokens"),), refused="mean_sqrt_len_tokens"),
    "an unknown field of Pooling": Variant((edit(POOLING, pool_twice=True),), refused="pool_twice"),
    "prompt is not part of pooling": Variant((edit(POOLING, include_prompt=False),), refused="include_prompt"),
    "euclidean": Variant((edit(SAVED, similarity_fn_name="euclidean"),), refused="similarity_fn_name"),
    "truncate_dim": Variant((edit(SAVED, truncate_dim=8),), refused="truncate_dim"),
    "requirements": Variant((edit(SAVED, requirements={"torch": ">=99"}),), refused="requirements"),
    "passage prompt": Variant((edit(SAVED, prompts={"passage": "p: "}),), refused="prompts.passage"),
    "unknown default prompt": Variant((edit(SAVED, default_prompt_name="nope"),), refused="default_prompt_name"),
    "prompts of a wrong type": Variant((edit(SAVED, prompts={"query": 3}),), refused="prompts"),
    "sparse encoder": Variant((edit(SAVED, model_type="SparseEncoder"),), refused="model_type"),
    "cross-encoder": Variant((edit(SAVED, model_type="CrossEncoder"),), refused="model_type"),
    "model arguments": Variant((edit(TRANSFORMER, model_args={"attn_implementation": "eager"}),), refused="model_args"),
    "processing_kwargs": Variant(
        (edit(TRANSFORMER, processing_kwargs={"text": {"max_length": 4}}),), refused="processing_kwargs"
    ),
    "query_expansion": Variant(
        (edit(TRANSFORMER, query_expansion={"strategy": "min", "length": 9}),), refused="query_expansion"
    ),
    "unknown field of Transformer": Variant((edit(TRANSFORMER, shuffle=True),), refused="shuffle"),
    "length of a wrong type": Variant((edit(TRANSFORMER, max_seq_length="9"),), refused="max_seq_length"),
    "other task": Variant((edit(TRANSFORMER, transformer_task="fill-mask"),), refused="transformer_task"),
    "other output": Variant((edit(TRANSFORMER, module_output_name="scores"),), refused="module_output_name"),
    "Normalize before Pooling": Variant((modules("Normalize", "Pooling"),), refused="type"),
    "Dense without files": Variant((modules("Pooling", "Dense"),), refused="2_Dense"),
    "Dense with another activation": Variant(
        (modules("Pooling", "Dense"), projection("torch.nn.modules.activation.GELU", bias=True)), refused="GELU"
    ),
    "Dense with code of another package": Variant(
        (modules("Pooling", "Dense"), projection("os.system", bias=True)), refused="os.system"
    ),
    "Dense of token embeddings": Variant(
        (modules("Pooling", "Dense"), projection(TANH, bias=True, module_input_name="token_embeddings")),
        refused="module_input_name",
    ),
    "Dense before Pooling": Variant((modules("Dense", "Pooling"), projection(TANH, bias=True)), refused="type"),
    "two Dense": Variant((modules("Pooling", "Dense", "Dense"), projection(TANH, bias=True)), refused="type"),
    "Dense of another width": Variant(
        (modules("Pooling", "Dense"), projection(TANH, bias=True, out_features=9)), refused="heads"
    ),
    "Dense of pooled token weights": Variant((modules("WordWeights", "Pooling"),), refused="models.WordWeights"),
    "arguments of a module": Variant((modules("Pooling", kwargs=["task"]),), refused="kwargs"),
    "Normalize of tokens": Variant(
        (edit("2_Normalize/config.json", module_input_name="token_embeddings"),), refused="module_input_name"
    ),
    "adapter": Variant((edit("adapter_config.json", peft_type="LORA"),), refused="adapter_config"),
    "quantized": Variant((edit(CONFIG, quantization_config={"bits": 4}),), refused="quantization_config"),
    "a further layer in the weights": Variant((edit(CONFIG, num_hidden_layers=1),), refused="layer.1"),
    "a missing layer": Variant((edit(CONFIG, num_hidden_layers=3),), refused="layer.2"),
    "another width": Variant((edit(CONFIG, intermediate_size=48),), refused="has the shape 64"),
    "superfluous weights": Variant(
        (weights(lambda tensors: tensors.update({"adapter.weight": torch.zeros(3)})),), refused="adapter.weight"
    ),
    "missing weights": Variant(
        (weights(lambda tensors: tensors.__delitem__("bert.embeddings.word_embeddings.weight")),),
        refused="word_embeddings",
    ),
    "a token without an embedding": Variant((edit(TOKENIZER, mask_token="<new>"),), refused="<new>"),
    "random tokens": Variant((bpe_dropout,), "roberta", "model.dropout"),
    "fewer tokens than special tokens": Variant((edit(TRANSFORMER, max_seq_length=1),), refused="limits texts to 1"),
    "a negative limit": Variant((edit(TOKENIZER, model_max_length=-1),), refused="model_max_length"),
    "a limit of a wrong type": Variant((edit(TOKENIZER, model_max_length="9"),), refused="model_max_length"),
    "no padding token": Variant((edit(TOKENIZER, pad_token=...),), refused="no pad token"),
    "weights outside of the folder": Variant(
        (edit("model.safetensors.index.json", weight_map={"bert.x": "../outside.safetensors"}),), refused="outside"
    ),
}
QUICK = (
    "family roberta",
    "left truncation at 12, mpnet",
    "no template, bert",
    "cosine without Normalize",
    "cosine by default",
    "Dense with tanh and bias",
    "dot without Normalize",
    "query_length and document_length",
    "lower case, wordpiece",
    "max_seq_length above model_max_length",
    "last token only",
    "no names of special tokens",
    "no tokenizer_config.json",
    "tokenizer class of BERT, lower case",
    "saved by version 6",
    "an empty passage prompt",
    "family modernbert",
)


def marked(names: Iterator[str]) -> list[Any]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", marked(iter(EQUAL)))
def test_vectors_and_scores_equal_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    variant = EQUAL[name]
    folder = write_folder(tmp_path / "model", variant.family, variant.changes)
    theirs = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    has_template = "no template" not in name
    texts = TEXTS if has_template else [text for text in TEXTS if text]
    if theirs.max_seq_length > 60:  # sentence-transformers fails at texts that are longer than the encoder allows
        texts = texts[:-1]
    ours = Encoder.from_pretrained(folder, device="cpu", precision="float32")
    queries, documents = ours.encode_queries(texts), ours.encode_documents(texts)
    their_queries, their_documents = theirs.encode_query(texts), theirs.encode_document(texts)
    np.testing.assert_allclose(queries, their_queries, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(documents, their_documents, atol=1e-5, rtol=1e-5)
    scores = theirs.similarity(their_queries, their_documents).numpy()
    np.testing.assert_allclose(ours.similarity(queries, documents), scores, atol=1e-5, rtol=1e-5)
    pairs = [(text, texts[0]) for text in texts]
    np.testing.assert_allclose(ours.score(pairs), scores[:, 0], atol=1e-5, rtol=1e-5)
    ours.save_pretrained(tmp_path / "saved")
    saved = Encoder.from_pretrained(tmp_path / "saved", device="cpu", precision="float32")
    np.testing.assert_allclose(saved.encode_queries(texts), queries, atol=1e-6)
    np.testing.assert_allclose(saved.encode_documents(texts), documents, atol=1e-6)
    np.testing.assert_allclose(saved.similarity(queries, documents), scores, atol=1e-5, rtol=1e-5)
    theirs_saved = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    if "query_length" not in name:  # versions before 6 have one limit for queries and documents
        np.testing.assert_allclose(theirs_saved.encode_query(texts), their_queries, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(theirs_saved.encode_document(texts), their_documents, atol=1e-5, rtol=1e-5)


def test_a_search_ranks_by_the_cosine_if_the_folder_says_so(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = write_folder(tmp_path / "model", "bert", (modules("Pooling"), edit(SAVED, similarity_fn_name="cosine")))
    corpus = Corpus.from_dicts([{"id": str(d["_id"]), "text": str(d["text"])} for d in toys.documents()])
    queries = [str(query["text"]) for query in toys.queries()][:6]
    retriever = Retriever.build(
        corpus, Encoder.from_pretrained(folder, device="cpu", precision="float32"), indexes=["flat"]
    )
    theirs = SentenceTransformer(str(folder), device="cpu")
    texts = [str(d["text"]) for d in toys.documents()]
    scores = theirs.similarity(theirs.encode_query(queries), theirs.encode_document(texts)).numpy()
    for query, of_query in zip(queries, scores, strict=True):
        hits = retriever.search(query, k=40)
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(of_query)[::-1], atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_that_is_not_supported_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    variant = REFUSED[name]
    folder = write_folder(tmp_path / "model", variant.family, variant.changes)
    with pytest.raises(CheckpointError, match=variant.refused):
        Encoder.from_pretrained(folder, device="cpu")


# Cross-encoders

LOGITS = {"text": {"method": "forward", "method_output_name": "logits"}}
IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"
RERANKER = edit(SAVED, model_type="CrossEncoder")
SCORES = edit(
    TRANSFORMER, transformer_task="sequence-classification", modality_config=LOGITS, module_output_name="scores"
)
SEPARATE = "$A:0 [SEP]:0 $B:0 [SEP]:0"
NO_TYPES = edit(TOKENIZER, model_input_names=["input_ids", "attention_mask"])
CROSS_EQUAL = {
    **{f"family {family}": Variant(family=family) for family in FAMILIES},
    **{
        f"left truncation, {family}": Variant((edit(TOKENIZER, truncation_side="left"),), family) for family in FAMILIES
    },
    "model_max_length 24": Variant((edit(TOKENIZER, model_max_length=24),)),
    "odd model_max_length": Variant((edit(TOKENIZER, model_max_length=33),)),
    "no token types": Variant((NO_TYPES,)),
    "token types undeclared": Variant((edit(TOKENIZER, model_input_names=...),)),
    "one token type": Variant((template("[CLS] $A [SEP]", f"[CLS]:0 {SEPARATE}"),)),
    "no special tokens": Variant((template("$A", "$A:0 $B:1"),)),
    "token type 1 first": Variant((template("[CLS] $A [SEP]", "[CLS]:1 $A:1 [SEP]:1 $B:0 [SEP]:0"),)),
    "Identity": Variant((edit(CONFIG, sentence_transformers={"activation_fn": IDENTITY}),)),
    "Sigmoid": Variant((edit(CONFIG, sentence_transformers={"activation_fn": SIGMOID}),)),
    "old name of the activation": Variant((edit(CONFIG, sbert_ce_default_activation_function="torch.nn.Identity"),)),
    "modules.json": Variant((modules(), SCORES, RERANKER, edit(SAVED, activation_fn=IDENTITY))),
    "modules.json, max_seq_length": Variant((modules(), SCORES, RERANKER, edit(TRANSFORMER, max_seq_length=17))),
    "modules.json, prompts": Variant((modules(), SCORES, RERANKER, edit(SAVED, prompts={"query": "q: "}))),
    "modules.json, lower case": Variant((modules(), SCORES, RERANKER, edit(TRANSFORMER, do_lower_case=True))),
    "activation of config_sentence_transformers.json wins": Variant(
        (
            modules(),
            SCORES,
            RERANKER,
            edit(SAVED, activation_fn=SIGMOID),
            edit(CONFIG, sentence_transformers={"activation_fn": IDENTITY}),
        )
    ),
    "ignored without modules.json": Variant((edit(SAVED, activation_fn=IDENTITY), edit(TRANSFORMER, max_seq_length=9))),
    "tokenizer class of BERT": Variant((edit(TOKENIZER, tokenizer_class="BertTokenizer"),)),
    "no tokenizer_config.json": Variant((remove(TOKENIZER),)),
}
CROSS_REFUSED = {
    "left padding": Variant((edit(TOKENIZER, padding_side="left"),), refused="padding_side"),
    "no attention mask": Variant((edit(TOKENIZER, model_input_names=["input_ids"]),), refused="model_input_names"),
    "another activation": Variant(
        (edit(CONFIG, sentence_transformers={"activation_fn": "torch.nn.Tanh"}),), refused="Tanh"
    ),
    "an activation of its own": Variant(
        (edit(CONFIG, sentence_transformers={"activation_fn": "a.b"}),), refused="activation_fn"
    ),
    "default prompt": Variant(
        (modules(), SCORES, RERANKER, edit(SAVED, prompts={"a": "x"}, default_prompt_name="a")),
        refused="default_prompt_name",
    ),
    "bi-encoder": Variant((modules("Pooling"), SCORES, RERANKER), refused="Pooling"),
    "no model_type": Variant((modules(), SCORES), refused="model_type"),
    "no task": Variant((modules(), RERANKER), refused="transformer_task"),
    "chat template": Variant((edit(TOKENIZER, chat_template="{{ messages }}"),), refused="chat_template"),
    "two labels": Variant(
        (edit(CONFIG, id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1}),), refused="2 labels"
    ),
    "no weights of the head": Variant(
        (weights(lambda tensors: tensors.__delitem__("classifier.weight")),), refused="classifier.weight"
    ),
    "no weights of the pooler": Variant(
        (weights(lambda tensors: tensors.__delitem__("bert.pooler.dense.weight")),), refused="pooler.dense.weight"
    ),
    "a further layer in the weights": Variant((edit(CONFIG, num_hidden_layers=1),), refused="layer.1"),
    "fewer tokens than special tokens": Variant((edit(TOKENIZER, model_max_length=2),), refused="limits pairs to 2"),
    "a token without an embedding": Variant((edit(TOKENIZER, mask_token="<new>"),), refused="<new>"),
}
QUICK_CROSS = ("family bert", "model_max_length 24", "token types undeclared", "modules.json", "left truncation, mpnet")


@pytest.mark.parametrize(
    "name", [name if name in QUICK_CROSS else pytest.param(name, marks=pytest.mark.slow) for name in CROSS_EQUAL]
)
def test_scores_of_cross_encoders_equal_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder as TheirCrossEncoder

    variant = CROSS_EQUAL[name]
    folder = write_folder(tmp_path / "model", variant.family, variant.changes, "cross")
    theirs = TheirCrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).predict(PAIRS)
    ours = CrossEncoder.from_pretrained(str(folder), device="cpu", precision="float32")
    np.testing.assert_allclose(ours.score(PAIRS), theirs, atol=1e-5, rtol=1e-5)
    ours.save_pretrained(tmp_path / "saved")
    saved = CrossEncoder.from_pretrained(str(tmp_path / "saved"), device="cpu", precision="float32")
    np.testing.assert_allclose(saved.score(PAIRS), theirs, atol=1e-5, rtol=1e-5)
    theirs_saved = TheirCrossEncoder(str(tmp_path / "saved"), device="cpu").predict(PAIRS)
    np.testing.assert_allclose(theirs_saved, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CROSS_REFUSED)
def test_a_field_of_a_cross_encoder_that_is_not_supported_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    variant = CROSS_REFUSED[name]
    folder = write_folder(tmp_path / "model", variant.family, variant.changes, "cross")
    with pytest.raises(CheckpointError, match=variant.refused):
        CrossEncoder.from_pretrained(str(folder), device="cpu")
