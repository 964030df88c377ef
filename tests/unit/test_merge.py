"""Merging: tensors are interpolated, everything else is the adapted model's, and the best weight is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, DistilBertConfig, PreTrainedConfig, RobertaConfig

import toys
from encloze.backbones.base import Backbone
from encloze.commands.base import MergeResult
from encloze.commands.merge import Merge, best_weight
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError, DataError, RecipeError, StorageError
from encloze.evaluation.report import Report, SystemResult
from encloze.models.checkpoint import DECODERS
from encloze.models.encoder_config import CONFIG_FILE, EncoderConfig
from encloze.models.heads.dense import Dense

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
CONFIGS: dict[str, tuple[str, type[PreTrainedConfig], dict[str, int]]] = {
    "bert": ("wordpiece", BertConfig, SIZES),
    "roberta": ("bpe", RobertaConfig, SIZES),
    "distilbert": ("unigram", DistilBertConfig, DISTIL),
}
TOKENIZERS = {kind: toys.tokenizer(kind) for kind, _, _ in CONFIGS.values()}


def save_model(folder: Path, name: str = "bert", seed: int = 0, *, head: bool = True, **changes: object) -> Path:
    """Save a model with random weights; all parameters are random, also biases, and some are minus zero."""
    kind, config_class, sizes = CONFIGS[name]
    tokenizer = TOKENIZERS[kind]
    config = config_class(**{**sizes, "vocab_size": tokenizer.vocab_size, "max_position_embeddings": 66, **changes})
    torch.manual_seed(seed)
    model = (AutoModelForMaskedLM if head else AutoModel).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_().view(-1)[:3] = -0.0
    model.save_pretrained(folder)
    tokenizer.save(folder, 64)
    EncoderConfig((Dense("mean"),), "find ", "", 32, 64).write(folder)
    return folder


@pytest.fixture(params=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """An adapted model and its original, for each of three encoder families."""
    return save_model(tmp_path / "adapted", request.param, 1), save_model(tmp_path / "original", request.param, 2)


def merge(model: Path, original: Path, *weights: float, **settings: object) -> MergeResult:
    output = model.with_name("merged")
    return Merge(str(model), str(original), output, weights or (0.5,), **settings).run()  # type: ignore[arg-type]


def load_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def are_identical(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and torch.equal(one[name].contiguous().view(torch.uint8), other[name].contiguous().view(torch.uint8))
        for name in one
    )


# Weights


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_weights_0_and_1_give_the_two_models_exactly(pair: tuple[Path, Path], weight: float) -> None:
    model, original = pair
    result = merge(model, original, weight)
    end, other = (model, original) if weight else (original, model)
    assert are_identical(load_tensors(result.folder), load_tensors(end)) and not are_identical(
        load_tensors(end), load_tensors(other)
    )


@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_each_tensor_is_the_weighted_mean(pair: tuple[Path, Path], weight: float) -> None:
    model, original = map(load_tensors, pair)
    merged = load_tensors(merge(*pair, weight).folder)
    assert merged.keys() == model.keys()
    for name, value in merged.items():
        expected = weight * model[name].double() + (1 - weight) * original[name].double()
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
        assert not torch.equal(value, model[name]) and not torch.equal(value, original[name])


def test_tied_weights_stay_tied(pair: tuple[Path, Path]) -> None:
    result = merge(*pair)
    model, report = AutoModelForMaskedLM.from_pretrained(result.folder, output_loading_info=True)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_an_untied_matrix_is_merged_with_the_tied_one_of_the_original(tmp_path: Path) -> None:
    model = save_model(tmp_path / "adapted", seed=1, tie_word_embeddings=False)
    original = save_model(tmp_path / "original", seed=2)
    merged, own, others = load_tensors(merge(model, original).folder), load_tensors(model), load_tensors(original)
    last, words = "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"
    torch.testing.assert_close(merged[last], (own[last] + others[words]) / 2)
    torch.testing.assert_close(merged[words], (own[words] + others[words]) / 2)


def test_bfloat16_models_are_merged_in_float32_and_saved_in_bfloat16(tmp_path: Path) -> None:
    model, original = save_model(tmp_path / "adapted", seed=1), save_model(tmp_path / "original", seed=2)
    for folder, kind in ((model, torch.bfloat16), (original, torch.float32)):
        loaded = AutoModelForMaskedLM.from_pretrained(folder).to(kind)
        loaded.save_pretrained(folder)
    merged, own, others = load_tensors(merge(model, original, 0.3).folder), load_tensors(model), load_tensors(original)
    for name, value in merged.items():
        assert value.dtype == torch.bfloat16
        exact = torch.lerp(others[name].float(), own[name].float(), 0.3)
        assert torch.equal(value, exact.bfloat16())


def test_parts_of_the_adapted_model_only_are_kept(tmp_path: Path) -> None:
    model, original = save_model(tmp_path / "adapted", seed=1), save_model(tmp_path / "original", seed=2, head=False)
    save_file({"decoder": torch.ones(3)}, model / DECODERS)
    result = merge(model, original)
    merged, own, others = load_tensors(result.folder), load_tensors(model), load_tensors(original)
    head = [name for name in own if name.startswith("cls.")]
    assert head and all(torch.equal(merged[name], own[name]) for name in head)
    for name in merged.keys() - head:
        torch.testing.assert_close(merged[name], (own[name] + others[name.removeprefix("bert.")]) / 2)
    assert (result.folder / DECODERS).read_bytes() == (model / DECODERS).read_bytes()
    assert result.next_command == "finetune"


def test_parts_of_the_original_only_are_left_out(tmp_path: Path) -> None:
    model, original = save_model(tmp_path / "adapted", seed=1, head=False), save_model(tmp_path / "original", seed=2)
    save_file({"decoder": torch.ones(3)}, original / DECODERS)
    result = merge(model, original)
    assert load_tensors(result.folder).keys() == {name for name in load_tensors(model) if "pooler" not in name}
    assert not (result.folder / DECODERS).exists() and result.next_command == "index"
    with torch.no_grad():
        loaded = Backbone.load(result.folder, require_mlm_head=False)
    assert not loaded.has_mlm_head


def test_the_configuration_is_the_adapted_models_with_a_warning_about_other_pooling(tmp_path: Path) -> None:
    model, original = save_model(tmp_path / "adapted", seed=1), save_model(tmp_path / "original", seed=2)
    EncoderConfig((Dense("cls", normalize=True),), "", "", 16, 48).write(original)
    with pytest.warns(
        UserWarning,
        match=r"adapted uses mean pooling, but .*original uses cls pooling\. The merged model uses mean pooling",
    ):
        result = merge(model, original)
    assert (result.folder / CONFIG_FILE).read_bytes() == (model / CONFIG_FILE).read_bytes()


# Models that cannot be merged


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "distilbert"}, "the model types are bert and distilbert"),
        (
            {"intermediate_size": 48},
            r"6 tensors differ in shape, such as encoder\.encoder\.layer\.0\..* \(64 and 48\)",
        ),
        (
            {"num_hidden_layers": 3},
            r"16 tensors of the encoder are in only one of them, such as encoder\.encoder\.layer\.2\.",
        ),
        ({"num_attention_heads": 4}, "they have 2 and 4 attention heads"),
        ({"max_position_embeddings": 70}, r"position_embeddings\.weight \(66 x 32 and 70 x 32\)"),
    ],
)
def test_different_architectures_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    model, original = save_model(tmp_path / "adapted"), save_model(tmp_path / "original", **changes)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=f"adapted and .*original cannot be merged: .*{message}"):
        merge(model, original)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["adapted", "original"]


def test_different_tokens_are_refused_but_not_different_tokenizer_files(tmp_path: Path) -> None:
    model, original = save_model(tmp_path / "adapted"), save_model(tmp_path / "original", seed=2)
    file = original / "tokenizer.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"decoder": None}))
    merge(model, original)
    words = content["model"]["vocab"]
    words["river"], words["comet"] = words["comet"], words["river"]
    file.write_text(json.dumps(content))
    with pytest.raises(
        CheckpointError, match="their tokenizers have 109 and 109 tokens and differ in 'comet', 'river'"
    ):
        merge(model, original, overwrite=True)


def test_all_differences_are_reported_together(tmp_path: Path) -> None:
    model, original = (
        save_model(tmp_path / "adapted"),
        save_model(tmp_path / "original", num_attention_heads=1, intermediate_size=16),
    )
    with pytest.raises(CheckpointError, match="2 and 1 attention heads; 6 tensors differ in shape"):
        merge(model, original)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((), "from 0 to 1, not none"),
        ((1.5,), "from 0 to 1, not 1.5"),
        ((float("nan"),), "expected a number, found nan"),
        ((0.3, 0.3), "contains a number twice: 0.3, 0.3"),
        ((0.3, 0.5), "choosing one of the weights 0.3, 0.5 needs a data set"),
    ],
)
def test_invalid_weights_are_refused(weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Merge("a", "b", Path("out"), weights)


def test_an_existing_output_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    model, original = save_model(tmp_path / "adapted", seed=1), save_model(tmp_path / "original", seed=2)
    first = load_tensors(merge(model, original, 0.5).folder)
    with pytest.raises(StorageError, match="exists already"):
        merge(model, original, 1.0)
    assert are_identical(load_tensors(tmp_path / "merged"), first)
    assert are_identical(load_tensors(merge(model, original, 1.0, overwrite=True).folder), load_tensors(model))


# Choice of the weight


def values_of(report: Report) -> dict[str, float]:
    return {system.name: float(system.values["nDCG@10"].mean()) for system in report.systems}


def test_all_models_are_evaluated_on_all_data_sets_and_the_best_weight_is_used(tmp_path: Path, dataset: Path) -> None:
    model, original = save_model(tmp_path / "adapted", seed=1), save_model(tmp_path / "original", seed=2)
    other = toys.write_dataset(tmp_path / "other")
    lines = (other / "qrels" / "train.tsv").read_text().splitlines()
    (other / "qrels" / "dev.tsv").write_text("\n".join(lines[:8]) + "\n")
    own, retention = Format.from_name(str(dataset)), Format.from_name(str(other))
    chosen = set()
    for weights in ((0.0, 1.0), (1.0, 0.0)):
        result = merge(model, original, *weights, dataset=own, retention_dataset=retention, overwrite=True)
        assert [(report.dataset, len(report.queries)) for report in result.reports] == [
            (str(dataset), 10),
            (str(other), 7),
        ]
        sums = dict.fromkeys(weights, 0.0)
        for report in result.reports:
            means = values_of(report)
            assert list(means)[:2] == ["original (original)", "adapted (adapted)"]
            assert means["merged, weight 0"] == means["original (original)"]
            assert means["merged, weight 1"] == means["adapted (adapted)"]
            for weight in weights:
                sums[weight] += means[f"merged, weight {weight:g}"]
        assert sums[0.0] != sums[1.0] and result.weight == max(weights, key=sums.__getitem__)
        chosen.add(result.weight)
        assert are_identical(load_tensors(result.folder), load_tensors(model if result.weight else original))
        written = json.loads((result.folder / "merge.json").read_text())
        assert written["weight"] == result.weight and [len(report["systems"]) for report in written["reports"]] == [
            4,
            4,
        ]
    assert len(chosen) == 1


def report_of(*values: float) -> Report:
    """Return a report in which the original and the adapted model have 0, and the merged models the given values."""
    systems = [
        SystemResult(f"s{number}", {}, values={"nDCG@10": np.array([v, v])}) for number, v in enumerate([0, 0, *values])
    ]
    return Report("d", "dev", ("nDCG@10",), ("a", "b"), tuple(systems))


def test_the_best_weight_has_the_highest_mean_over_the_data_sets() -> None:
    weights = (0.2, 0.5, 0.8)
    own, retention = report_of(0.6, 0.8, 0.9), report_of(0.7, 0.6, 0.3)
    assert best_weight(weights, [own]) == 0.8 and best_weight(weights, [retention]) == 0.2
    assert best_weight(weights, [own, retention]) == 0.5
    assert best_weight(weights, [report_of(0.5, 0.5, 0.5)]) == 0.2 == best_weight(weights, [])


def test_one_weight_works_with_one_data_set_and_without(tmp_path: Path, dataset: Path) -> None:
    model, original = save_model(tmp_path / "adapted", seed=1), save_model(tmp_path / "original", seed=2)
    result = merge(model, original, 0.4, retention_dataset=Format.from_name(str(dataset)), split="test")
    assert [(report.split, len(report.systems)) for report in result.reports] == [("test", 3)] and result.weight == 0.4
    assert merge(model, original, 0.4, overwrite=True).reports == ()


def test_a_missing_split_is_reported_before_anything_is_encoded(tmp_path: Path, dataset: Path) -> None:
    other = toys.write_dataset(tmp_path / "other")
    (other / "qrels" / "dev.tsv").unlink()
    with pytest.raises(DataError, match="other has no judgments for the split 'dev'"):
        merge(
            tmp_path / "a",
            tmp_path / "b",
            dataset=Format.from_name(str(dataset)),
            retention_dataset=Format.from_name(str(other)),
        )
    assert not (tmp_path / "merged").exists()
