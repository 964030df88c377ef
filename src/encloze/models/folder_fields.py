"""Fields in the files of a model folder that determine vectors or scores: each is honored, or refused by its name.

The files are those that sentence-transformers 6.2 and transformers read when they load a folder. ``FIELDS`` is the
complete list; the documentation shows it as a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encloze.errors import CheckpointError
from encloze.storage.json_files import read_json

MODULES_FILE = "modules.json"
TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Configuration of the module Transformer: sentence-transformers reads the first of these files that is not empty."""
POOLING_FILE, NORMALIZE_FILE = "1_Pooling/config.json", "2_Normalize/config.json"
DENSE_FILE, SPLADE_FILE = "2_Dense/config.json", "1_SpladePooling/config.json"
PROMPTS_FILE = "config_sentence_transformers.json"
MODEL_FILE, TOKENIZER_FILE = "config.json", "tokenizer_config.json"
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Fields of older versions that each switch on one pooling method."""


@dataclass(frozen=True)
class Field:
    """A field of a file in a model folder.

    Args:
        file: The file; ``1_Pooling`` and ``2_Normalize`` stand for the folders that modules.json names.
        name: The field.
        description: How the field is honored, or why a value of it is refused.
        accepts: Function that returns whether a value is accepted; None if all values are.
        has_effect: False if the field does not change vectors or scores.
    """

    file: str
    name: str
    description: str
    accepts: Callable[[Any], bool] | None = None
    has_effect: bool = True

    @property
    def treatment(self) -> str:
        """What is done with the field, for the table in the documentation."""
        if not self.has_effect:
            return "no effect"
        return "refused" if self.accepts in (_is_empty, _never) else "honored"


def _is_empty(value: Any) -> bool:
    return value is None or value == {} or value == []


def _never(value: Any) -> bool:
    return False


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_length(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_prompts(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict) and all(text is None or isinstance(text, str) for text in value.values())
    )


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is one or (type(value) is type(one) and value == one) for one in values)


def _is_text_only(value: Any) -> bool:
    """Return whether a modality_config takes texts alone, and the output that the task has."""
    outputs = ("last_hidden_state", ["last_hidden_state"], "logits", ["logits"])
    return isinstance(value, dict) and any(
        value == {"text": {"method": "forward", "method_output_name": output}} for output in outputs
    )


def _is_without_arguments(value: Any) -> bool:
    return _is_empty(value) or (isinstance(value, dict) and set(value) == {"trust_remote_code"})


_ARGUMENTS = "arguments of transformers; accepted if empty (trust_remote_code is never honored)"
_ARGUMENT_NAMES = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
_TRANSFORMER = TRANSFORMER_FILES[0]

FIELDS: tuple[Field, ...] = (
    Field(
        MODULES_FILE,
        "type",
        "Transformer, Pooling and optionally Dense and Normalize of sentence-transformers, in this order; "
        "MLMTransformer or Transformer, and SpladePooling for a sparse encoder; Transformer alone for a cross-encoder",
        _is_text,
    ),
    Field(MODULES_FILE, "path", "empty for Transformer, else a subfolder", _is_text),
    Field(MODULES_FILE, "kwargs", "further arguments of a module; accepted if empty", _is_empty),
    Field(_TRANSFORMER, "max_seq_length", "length limit; replaces model_max_length", _is_length),
    Field(_TRANSFORMER, "do_lower_case", "texts are lower-cased before the tokenizer's own normalization", _is_bool),
    Field(_TRANSFORMER, "query_length", "length limit of queries", _is_length),
    Field(_TRANSFORMER, "document_length", "length limit of documents", _is_length),
    Field(
        _TRANSFORMER,
        "transformer_task",
        "feature-extraction, fill-mask for a sparse encoder, or sequence-classification for a cross-encoder",
        _one_of("feature-extraction", "fill-mask", "sequence-classification"),
    ),
    Field(_TRANSFORMER, "modality_config", "texts alone, through forward", _is_text_only),
    Field(
        _TRANSFORMER,
        "module_output_name",
        "token_embeddings, or scores for a cross-encoder",
        _one_of("token_embeddings", "scores"),
    ),
    Field(_TRANSFORMER, "processing_kwargs", "arguments of the tokenizer's calls; accepted if empty", _is_empty),
    Field(_TRANSFORMER, "query_expansion", "expansion of queries with mask tokens; accepted if null", _is_empty),
    Field(_TRANSFORMER, "tokenizer_name_or_path", "a tokenizer elsewhere; accepted if null", _is_empty),
    *(Field(_TRANSFORMER, name, _ARGUMENTS, _is_without_arguments) for name in _ARGUMENT_NAMES),
    Field(_TRANSFORMER, "unpad_inputs", "only how a GPU computes", has_effect=False),
    Field(_TRANSFORMER, "backend", "the backend that is used replaces it", has_effect=False),
    Field(POOLING_FILE, "pooling_mode", "cls, mean or max", _one_of("cls", "mean", "max", ["cls"], ["mean"], ["max"])),
    *(
        Field(POOLING_FILE, flag, f"pooling_mode {mode}, in older versions; one method only", _is_bool)
        for flag, mode in POOLING_FLAGS.items()
    ),
    Field(POOLING_FILE, "include_prompt", "true, or false in a folder without prompts", _is_bool),
    Field(POOLING_FILE, "embedding_dimension", "the encoder's own size is used", has_effect=False),
    Field(POOLING_FILE, "word_embedding_dimension", "the encoder's own size is used", has_effect=False),
    Field(NORMALIZE_FILE, "module_input_name", "sentence_embedding", _one_of("sentence_embedding")),
    Field(NORMALIZE_FILE, "module_output_name", "sentence_embedding", _one_of("sentence_embedding", None)),
    Field(DENSE_FILE, "in_features", "must be the encoder's own size", _is_length),
    Field(DENSE_FILE, "out_features", "dimensions of the embedding", _is_length),
    Field(DENSE_FILE, "bias", "whether the projection has a bias", _is_bool),
    Field(DENSE_FILE, "activation_function", "Identity or Tanh of torch.nn", _is_text),
    Field(DENSE_FILE, "module_input_name", "sentence_embedding", _one_of("sentence_embedding")),
    Field(DENSE_FILE, "module_output_name", "sentence_embedding", _one_of("sentence_embedding", None)),
    Field(SPLADE_FILE, "pooling_strategy", "max or sum", _one_of("max", "sum")),
    Field(SPLADE_FILE, "activation_function", "relu: log(1 + max(0, logit))", _one_of("relu")),
    Field(SPLADE_FILE, "embedding_dimension", "the size of the vocabulary is used", has_effect=False),
    Field(SPLADE_FILE, "word_embedding_dimension", "the size of the vocabulary is used", has_effect=False),
    Field(SPLADE_FILE, "chunk_size", "only how the weights are computed", has_effect=False),
    Field(
        PROMPTS_FILE,
        "model_type",
        "SentenceTransformer, SparseEncoder or CrossEncoder",
        _one_of("SentenceTransformer", "SparseEncoder", "CrossEncoder"),
    ),
    Field(PROMPTS_FILE, "max_active_dims", "the highest term weights only; accepted if null", _is_empty),
    Field(
        PROMPTS_FILE,
        "prompts",
        "query for queries and document for documents; passage or corpus without document is refused, because "
        "sentence-transformers 6.2 does not apply them",
        _is_prompts,
    ),
    Field(
        PROMPTS_FILE,
        "default_prompt_name",
        "must name a prompt; neither queries nor documents get it; refused for a cross-encoder, unless the prompt is "
        "empty",
        _is_name,
    ),
    Field(
        PROMPTS_FILE,
        "similarity_fn_name",
        "cosine (also if null or missing) or dot; scores are cosines also if embeddings are not normalized",
        _one_of("cosine", "dot", None),
    ),
    Field(PROMPTS_FILE, "truncate_dim", "fewer dimensions; accepted if null", _is_empty),
    Field(PROMPTS_FILE, "requirements", "required versions of packages; accepted if empty", _is_empty),
    Field(PROMPTS_FILE, "activation_fn", "function of a cross-encoder's logit: Identity or Sigmoid of torch.nn"),
    Field(PROMPTS_FILE, "keep_in_fp32_modules", "task heads always compute in float32", has_effect=False),
    Field(PROMPTS_FILE, "__version__", "versions of packages", has_effect=False),
    Field(MODEL_FILE, "sentence_transformers", "activation_fn of a cross-encoder: Identity or Sigmoid of torch.nn"),
    Field(MODEL_FILE, "sbert_ce_default_activation_function", "activation_fn in older versions"),
    Field(MODEL_FILE, "num_labels, id2label", "one label for a cross-encoder"),
    Field(MODEL_FILE, "dtype, torch_dtype", "weights are converted to float32"),
    Field(
        MODEL_FILE,
        "auto_map",
        "code of a folder is never run: the class of transformers is used, and a folder without one is refused",
        has_effect=False,
    ),
    Field(MODEL_FILE, "quantization_config", "quantized weights", _is_empty),
    Field(MODEL_FILE, "is_encoder_decoder", "true is refused"),
    Field(MODEL_FILE, "is_decoder, architectures", "a decoder is refused if no file states a pooling method"),
    Field(
        MODEL_FILE,
        "num_hidden_layers, vocab_size, ...",
        "the weights must be those that these fields describe; missing or superfluous weights, other shapes, and "
        "tokens without an embedding are refused",
    ),
    Field(MODEL_FILE, "all other fields", "read by the model class of transformers"),
    Field("model.safetensors.index.json", "weight_map", "names of files in the folder; all others are refused"),
    Field("adapter_config.json", "all fields", "adapters", _never),
    Field(
        TOKENIZER_FILE,
        "model_max_length",
        "length limit if max_seq_length is not set; at most the encoder's limit",
        lambda value: isinstance(value, (int, float)) and value >= 1,
    ),
    Field(TOKENIZER_FILE, "truncation_side", "right or left"),
    Field(
        TOKENIZER_FILE,
        "padding_side",
        "right; with left, an embedding would depend on the other texts of its batch",
        _one_of("right"),
    ),
    Field(
        TOKENIZER_FILE,
        "model_input_names",
        "must contain attention_mask; with token_type_ids, pairs get token types, and those of single texts must be 0",
        lambda value: "attention_mask" in value,
    ),
    Field(TOKENIZER_FILE, "chat_template", "refused for a cross-encoder without modality_config"),
    Field(TOKENIZER_FILE, "auto_map", "code of a folder is never run", has_effect=False),
    Field(TOKENIZER_FILE, "all other fields", "read by the tokenizer class of transformers"),
    Field("tokenizer.json", "post_processor", "special tokens before, between and after texts, and token types"),
    Field("tokenizer.json", "model.dropout", "random tokens; accepted if null", _is_empty),
    Field("tokenizer.json", "truncation, padding", "only the directions, as truncation_side and padding_side"),
    Field("tokenizer.json", "all other fields", "read by the tokenizer class of transformers"),
)
_BY_FILE: dict[str, dict[str, Field]] = {}
for _field in FIELDS:
    _BY_FILE.setdefault(_field.file, {})[_field.name] = _field


def read_fields(file: Path, kind: str, *, refuse_unknown: bool) -> dict[str, Any]:
    """Read a JSON file of a model folder, and refuse values that ``FIELDS`` does not accept.

    Args:
        file: The file.
        kind: The name of the file in ``FIELDS``.
        refuse_unknown: Whether fields that ``FIELDS`` does not list are refused. sentence-transformers passes all
            fields of some files to the module that it creates; of other files it ignores unknown fields.

    Raises:
        CheckpointError: If the file is missing or damaged, or a value is refused. The message names the field.
    """
    values: dict[str, Any] = read_json(file)
    check_fields(file, kind, values, refuse_unknown=refuse_unknown)
    return values


def check_fields(place: object, kind: str, values: dict[str, Any], *, refuse_unknown: bool) -> None:
    """Raise CheckpointError if ``values``, read from ``place``, contain a field or a value that is refused."""
    fields = _BY_FILE[kind]
    for name, value in values.items():
        if name in fields:
            field = fields[name]
            if field.accepts is not None and not field.accepts(value):
                raise refusal(place, name, value, field.description)
        elif refuse_unknown:
            raise refusal(place, name, value, "the field is unknown")


def refusal(place: object, name: str, value: Any, reason: str) -> CheckpointError:
    """Return the error for a field that is not supported."""
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return CheckpointError(
        f"{place}: {name} is {shown}, which encloze does not support ({reason}). Use a model without this setting"
    )


def check_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Raise CheckpointError if a tokenizer of transformers has a setting that encloze does not support.

    Args:
        folder: The model folder.
        tokenizer: The tokenizer that transformers loaded from it.
    """
    names = ("padding_side", "model_input_names", "model_max_length")
    values = {name: getattr(tokenizer, name) for name in names}
    check_fields(folder / TOKENIZER_FILE, TOKENIZER_FILE, values, refuse_unknown=False)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    dropout = {"model.dropout": getattr(getattr(backend, "model", None), "dropout", None)}
    check_fields(folder / "tokenizer.json", "tokenizer.json", dropout, refuse_unknown=False)
