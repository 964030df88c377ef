"""Read how a folder of sentence-transformers or transformers turns texts into embeddings and scores."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, TypedDict, get_args

from encloze.errors import CheckpointError
from encloze.models.folder_fields import (
    DENSE_FILE,
    MODEL_FILE,
    MODULES_FILE,
    NORMALIZE_FILE,
    POOLING_FILE,
    POOLING_FLAGS,
    PROMPTS_FILE,
    SPLADE_FILE,
    TOKENIZER_FILE,
    TRANSFORMER_FILES,
    check_fields,
    read_fields,
    refusal,
)
from encloze.models.layers.pooling import Pooling
from encloze.storage.json_files import read_json

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
Activation = Literal["identity", "sigmoid"]
"""Function of the logit of a cross-encoder that gives the score."""
ACTIVATION_CLASSES: dict[Activation, str] = {
    "identity": "torch.nn.modules.linear.Identity",
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
}
"""Names of the activations in the files of sentence-transformers."""


class EncoderSettings(NamedTuple):
    """How the files of a sentence-transformers folder turn a text into an embedding, and embeddings into a score."""

    pooling: Pooling
    normalize: bool
    cosine: bool
    """Whether scores are cosines of embeddings that are not normalized; otherwise they are inner products."""
    query_prompt: str
    document_prompt: str
    max_query_tokens: int | None
    """Length limit of queries; None: that of the tokenizer."""
    max_document_tokens: int | None
    """Length limit of documents; None: that of the tokenizer."""
    projection: Projection | None = None
    """Linear layer after pooling; None if there is none."""
    term_pooling: Literal["max", "sum"] | None = None
    """Pooling of term weights, of a sparse encoder; None for embeddings."""


class Projection(NamedTuple):
    """The module Dense: a linear layer after pooling."""

    file: Path
    """The safetensors file with its weights ``linear.weight`` and ``linear.bias``."""
    dim: int
    bias: bool
    activation: Literal["identity", "tanh"]


class Module(TypedDict):
    """An entry of modules.json."""

    type: str
    path: str
    name: str


class RerankerSettings(NamedTuple):
    """How a folder turns the logit of a cross-encoder into a score."""

    activation: Activation
    max_tokens: int | None
    """Length limit of a query and a document together; None: that of the tokenizer."""


def is_of_sentence_transformers(folder: Path) -> bool:
    """Return whether a folder has a modules.json, from which sentence-transformers builds a model."""
    return (folder / MODULES_FILE).is_file()


def reads_lower_case(folder: Path) -> bool:
    """Return whether a folder of sentence-transformers lower-cases all texts before its tokenizer."""
    return is_of_sentence_transformers(folder) and bool(_transformer_settings(folder).get("do_lower_case"))


def read_encoder_settings(folder: Path) -> EncoderSettings:
    """Read the settings of a bi-encoder that sentence-transformers wrote.

    Args:
        folder: A folder with modules.json.

    Raises:
        CheckpointError: If a file is damaged, or has a field that encloze does not support.
    """
    if _is_sparse(folder):
        return _read_sparse_encoder(folder)
    modules = _read_modules(folder, ("Transformer", "Pooling"), optional=("Dense", "Normalize"))
    transformer = _transformer_settings(folder)
    _require(folder, transformer, "feature-extraction", "last_hidden_state", "token_embeddings")
    saved = _read_saved(folder, "SentenceTransformer", "a bi-encoder")
    query_prompt, document_prompt = _prompts(folder / PROMPTS_FILE, saved)
    file = folder / modules["Pooling"] / "config.json"
    pooling = read_fields(file, POOLING_FILE, refuse_unknown=True)
    projection = _projection(folder / modules["Dense"]) if "Dense" in modules else None
    if pooling.get("include_prompt") is False and (query_prompt or document_prompt):
        raise refusal(file, "include_prompt", False, "the folder has prompts, which would be excluded from pooling")
    normalize = "Normalize" in modules
    if normalize and (file_of_normalize := folder / modules["Normalize"] / "config.json").is_file():
        read_fields(file_of_normalize, NORMALIZE_FILE, refuse_unknown=False)
    longest = transformer.get("max_seq_length")
    return EncoderSettings(
        _pooling(file, pooling),
        normalize,
        not normalize and saved.get("similarity_fn_name") != "dot",
        query_prompt,
        document_prompt,
        transformer.get("query_length") or longest,
        transformer.get("document_length") or longest,
        projection,
    )


def _is_sparse(folder: Path) -> bool:
    modules = read_json(folder / MODULES_FILE, list[Module])
    return bool(modules) and modules[-1]["type"].rpartition(".")[2] == "SpladePooling"


def _read_sparse_encoder(folder: Path) -> EncoderSettings:
    """Read the settings of a SparseEncoder of sentence-transformers (see ``read_encoder_settings``)."""
    kinds = [module["type"].rpartition(".")[2] for module in read_json(folder / MODULES_FILE, list[Module])]
    first = "MLMTransformer" if "MLMTransformer" in kinds else "Transformer"
    modules = _read_modules(folder, (first, "SpladePooling"))
    transformer = _transformer_settings(folder)
    if "transformer_task" in transformer or first == "Transformer":  # not in older versions
        _require(folder, transformer, "fill-mask", "logits", "token_embeddings")
    saved = _read_saved(folder, "SparseEncoder", "a sparse encoder")
    if saved.get("similarity_fn_name") == "cosine":
        reason = "scores of term weights are inner products"
        raise refusal(folder / PROMPTS_FILE, "similarity_fn_name", "cosine", reason)
    query_prompt, document_prompt = _prompts(folder / PROMPTS_FILE, saved)
    file = folder / modules["SpladePooling"] / "config.json"
    pooling = read_fields(file, SPLADE_FILE, refuse_unknown=True)
    longest = transformer.get("max_seq_length")
    limits = (transformer.get("query_length") or longest, transformer.get("document_length") or longest)
    kind: Literal["max", "sum"] = pooling.get("pooling_strategy", "max")
    return EncoderSettings("cls", False, False, query_prompt, document_prompt, *limits, term_pooling=kind)


def _projection(folder: Path) -> Projection:
    """Return the settings of a module Dense."""
    file = folder / "config.json"
    values = read_fields(file, DENSE_FILE, refuse_unknown=True)
    name = str(values.get("activation_function", "torch.nn.modules.activation.Tanh"))
    kind = name.rpartition(".")[2]
    if not name.startswith("torch.") or kind not in ("Identity", "Tanh"):
        raise refusal(file, "activation_function", name, "an activation is Identity or Tanh of torch.nn")
    if not values.get("out_features"):
        raise refusal(file, "out_features", values.get("out_features"), "it is the number of dimensions")
    activation: Literal["identity", "tanh"] = "tanh" if kind == "Tanh" else "identity"
    return Projection(folder / "model.safetensors", values["out_features"], values.get("bias", True), activation)


def read_reranker_settings(folder: Path) -> RerankerSettings:
    """Read the settings of a cross-encoder that sentence-transformers or transformers wrote.

    Args:
        folder: A folder with the config.json of a sequence classification model.

    Raises:
        CheckpointError: If a file is damaged, or has a field that encloze does not support.
    """
    transformer: dict[str, Any] = {}
    saved: dict[str, Any] = {}
    if is_of_sentence_transformers(folder):
        _read_modules(folder, ("Transformer",))
        transformer = _transformer_settings(folder)
        _require(folder, transformer, "sequence-classification", "logits", "scores")
        saved = _read_saved(folder, "CrossEncoder", "a cross-encoder")
        if (name := saved.get("default_prompt_name")) and (saved.get("prompts") or {}).get(name):
            raise refusal(folder / PROMPTS_FILE, "default_prompt_name", name, "prompts of cross-encoders")
    if "modality_config" not in transformer and _has_chat_template(folder):
        raise refusal(folder / TOKENIZER_FILE, "chat_template", "set", "texts would be chat messages")
    config = read_json(folder / MODEL_FILE)
    own = config.get("sentence_transformers")
    candidates = (
        (folder / PROMPTS_FILE, "activation_fn", saved.get("activation_fn")),
        (folder / MODEL_FILE, "activation_fn", own.get("activation_fn") if isinstance(own, dict) else None),
        (folder / MODEL_FILE, name := "sbert_ce_default_activation_function", config.get(name)),
    )
    given = next((candidate for candidate in candidates if candidate[2] is not None), None)
    return RerankerSettings(_activation(*given) if given else "sigmoid", transformer.get("max_seq_length"))


def _read_saved(folder: Path, model_type: str, kind: str) -> dict[str, Any]:
    """Return the content of config_sentence_transformers.json, whose model type must be ``model_type``."""
    file = folder / PROMPTS_FILE
    saved = read_fields(file, PROMPTS_FILE, refuse_unknown=False) if file.is_file() else {}
    if (found := saved.get("model_type", "SentenceTransformer")) != model_type:
        raise refusal(file, "model_type", found, f"{kind} has the type {model_type}")
    return saved


def _read_modules(folder: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the path of each module in modules.json: those in ``required``, then some of ``optional``, in order."""
    file = folder / MODULES_FILE
    modules = read_json(file, list[Module])
    paths: dict[str, str] = {}
    for module in modules:
        check_fields(file, MODULES_FILE, dict(module), refuse_unknown=False)
        package, _, kind = module["type"].rpartition(".")
        if kind not in (*required, *optional) or package.partition(".")[0] != "sentence_transformers":
            raise CheckpointError(
                f"{folder} has a sentence-transformers module that encloze does not support: {module['type']}. Use a "
                f"model with the modules {', '.join((*required, *optional))} only"
            )
        path = PurePosixPath(module["path"])
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in module["path"]
            or (kind == required[0]) != (not path.parts)
        ):
            raise refusal(file, f"path of {kind}", module["path"], "it is empty for Transformer, else a subfolder")
        paths[kind] = module["path"]
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    expected = [*required, *(kind for kind in optional if kind in kinds)]
    if kinds != expected or len({module["name"] for module in modules}) < len(modules):
        raise refusal(file, "type", kinds, f"the modules are {' and '.join(required)}, once each and in this order")
    return paths


def _transformer_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of the module Transformer, from the first of its files that is not empty."""
    for name in TRANSFORMER_FILES:
        if (folder / name).is_file() and (
            values := read_fields(folder / name, TRANSFORMER_FILES[0], refuse_unknown=True)
        ):
            return values
    return {}


def _require(folder: Path, transformer: dict[str, Any], task: str, output: str, feature: str) -> None:
    """Raise CheckpointError if the module Transformer has another task than ``task``, or another output."""
    file, outputs = folder / TRANSFORMER_FILES[0], (output, [output])
    modality = (transformer.get("modality_config") or {}).get("text", {}).get("method_output_name", output)
    for name, value, is_right in (
        ("transformer_task", found := transformer.get("transformer_task", "feature-extraction"), found == task),
        ("modality_config", modality, modality in outputs),
        ("module_output_name", found := transformer.get("module_output_name", feature), found == feature),
    ):
        if not is_right:
            raise refusal(file, name, value, f"this kind of model has the task {task}")


def _prompts(file: Path, saved: dict[str, Any]) -> tuple[str, str]:
    """Return the prompts of queries and of documents."""
    prompts = {"query": "", "document": "", **(saved.get("prompts") or {})}
    if (name := saved.get("default_prompt_name")) is not None and name not in prompts:
        raise refusal(file, "default_prompt_name", name, "no prompt has this name")
    if "document" not in (saved.get("prompts") or {}):
        for name in ("passage", "corpus"):
            if prompts.get(name):
                reason = "sentence-transformers 6.2 applies only a prompt called document to documents"
                raise refusal(file, f"prompts.{name}", prompts[name], reason)
    return prompts["query"] or "", prompts["document"] or ""


def _pooling(file: Path, settings: dict[str, Any]) -> Pooling:
    """Return the pooling method in the config.json of a Pooling module; mean by default."""
    if not {"embedding_dimension", "word_embedding_dimension"} & settings.keys():
        raise CheckpointError(f"{file}: embedding_dimension is missing. Restore the file")
    active = [mode for flag, mode in POOLING_FLAGS.items() if settings.get(flag)]
    mode = settings.get("pooling_mode", active or "mean")
    modes = mode if isinstance(mode, list) else [mode]
    if len(modes) == 1:
        for pooling in POOLINGS:
            if modes[0] == pooling:
                return pooling
    raise CheckpointError(
        f"{file}: the folder uses a pooling method that encloze does not support: {' and '.join(map(str, modes))}. Use "
        "a model with cls, mean or max pooling"
    )


def _activation(file: Path, name: str, value: Any) -> Activation:
    path = str(value)
    for activation, known in ACTIVATION_CLASSES.items():
        if path.startswith("torch.") and path.rpartition(".")[2] == known.rpartition(".")[2]:
            return activation
    raise refusal(file, name, value, "an activation is Identity or Sigmoid of torch.nn")


def _has_chat_template(folder: Path) -> bool:
    file = folder / TOKENIZER_FILE
    return (folder / "chat_template.jinja").is_file() or (file.is_file() and bool(read_json(file).get("chat_template")))
