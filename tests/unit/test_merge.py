"""Between two models of one make lie others: each tensor is where the weight says, and all else is the first one's."""

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
from encloze.commands.base import Merged
from encloze.commands.merge import Merge
from encloze.data.formats.base import Format
from encloze.errors import CheckpointError, DataError, StorageError
from encloze.evaluation.report import Report, SystemResult
from encloze.models.checkpoint import CARD, DECODERS, Card
from encloze.models.heads.dense import Dense

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
CONFIGS: dict[str, tuple[str, type[PreTrainedConfig], dict[str, int]]] = {
    "bert": ("wordpiece", BertConfig, SIZES),
    "roberta": ("bpe", RobertaConfig, SIZES),
    "distilbert": ("unigram", DistilBertConfig, DISTIL),
}
TOKENIZERS = {kind: toys.tokenizer(kind) for kind, _, _ in CONFIGS.values()}


def write(place: Path, name: str = "bert", seed: int = 0, *, head: bool = True, **changes: object) -> Path:
    """A model folder with random weights; every parameter is drawn, biases too, and some are minus zero."""
    kind, of, sizes = CONFIGS[name]
    tokenizer = TOKENIZERS[kind]
    config = of(**{**sizes, "vocab_size": tokenizer.size, "max_position_embeddings": 66, **changes})
    torch.manual_seed(seed)
    model = (AutoModelForMaskedLM if head else AutoModel).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_().view(-1)[:3] = -0.0
    model.save_pretrained(place)
    tokenizer.save(place, 64)
    Card((Dense("mean"),), "find ", "", 32, 64).write(place)
    return place


@pytest.fixture(params=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """An adapted model and its original, for each of three encoders."""
    return write(tmp_path / "adapted", request.param, 1), write(tmp_path / "original", request.param, 2)


def merged(model: Path, original: Path, *weights: float, **more: object) -> Merged:
    made = Merge(str(model), str(original), model.with_name("merged"), weights or (0.5,), **more)  # type: ignore[arg-type]
    return made.run()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and torch.equal(one[name].contiguous().view(torch.uint8), other[name].contiguous().view(torch.uint8))
        for name in one
    )


# Weights


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_ends_are_the_two_models_bit_for_bit(pair: tuple[Path, Path], weight: float) -> None:
    model, original = pair
    result = merged(model, original, weight)
    end, other = (model, original) if weight else (original, model)
    assert same_bits(tensors(result.folder), tensors(end)) and not same_bits(tensors(end), tensors(other))


@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_between_them_each_tensor_is_the_weighted_mean(pair: tuple[Path, Path], weight: float) -> None:
    model, original = map(tensors, pair)
    found = tensors(merged(*pair, weight).folder)
    assert found.keys() == model.keys()
    for name, value in found.items():
        expected = weight * model[name].double() + (1 - weight) * original[name].double()
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
        assert not torch.equal(value, model[name]) and not torch.equal(value, original[name])


def test_what_is_tied_stays_tied(pair: tuple[Path, Path]) -> None:
    result = merged(*pair)
    model, said = AutoModelForMaskedLM.from_pretrained(result.folder, output_loading_info=True)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not said["missing_keys"] and not said["unexpected_keys"]


def test_an_untied_matrix_is_merged_with_what_the_original_ties(tmp_path: Path) -> None:
    model = write(tmp_path / "adapted", seed=1, tie_word_embeddings=False)
    original = write(tmp_path / "original", seed=2)
    found, mine, theirs = tensors(merged(model, original).folder), tensors(model), tensors(original)
    last, words = "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"
    torch.testing.assert_close(found[last], (mine[last] + theirs[words]) / 2)
    torch.testing.assert_close(found[words], (mine[words] + theirs[words]) / 2)


def test_half_precision_is_merged_in_float32_and_saved_as_it_was(tmp_path: Path) -> None:
    model, original = write(tmp_path / "adapted", seed=1), write(tmp_path / "original", seed=2)
    for folder, kind in ((model, torch.bfloat16), (original, torch.float32)):
        loaded = AutoModelForMaskedLM.from_pretrained(folder).to(kind)
        loaded.save_pretrained(folder)
    found, mine, theirs = tensors(merged(model, original, 0.3).folder), tensors(model), tensors(original)
    for name, value in found.items():
        assert value.dtype == torch.bfloat16
        exact = torch.lerp(theirs[name].float(), mine[name].float(), 0.3)
        assert torch.equal(value, exact.bfloat16())


def test_what_only_the_model_has_is_kept(tmp_path: Path) -> None:
    model, original = write(tmp_path / "adapted", seed=1), write(tmp_path / "original", seed=2, head=False)
    save_file({"decoder": torch.ones(3)}, model / DECODERS)
    result = merged(model, original)
    found, mine, theirs = tensors(result.folder), tensors(model), tensors(original)
    head = [name for name in mine if name.startswith("cls.")]
    assert head and all(torch.equal(found[name], mine[name]) for name in head)
    for name in found.keys() - head:
        torch.testing.assert_close(found[name], (mine[name] + theirs[name.removeprefix("bert.")]) / 2)
    assert (result.folder / DECODERS).read_bytes() == (model / DECODERS).read_bytes()
    assert result.next_verb == "finetune"


def test_what_only_the_original_has_is_not_taken(tmp_path: Path) -> None:
    model, original = write(tmp_path / "adapted", seed=1, head=False), write(tmp_path / "original", seed=2)
    save_file({"decoder": torch.ones(3)}, original / DECODERS)
    result = merged(model, original)
    assert tensors(result.folder).keys() == {name for name in tensors(model) if "pooler" not in name}
    assert not (result.folder / DECODERS).exists() and result.next_verb == "index"
    with torch.no_grad():
        loaded = Backbone.load(result.folder, need_head=False)
    assert not loaded.has_head


def test_the_card_is_the_models_and_other_pooling_is_said(tmp_path: Path) -> None:
    model, original = write(tmp_path / "adapted", seed=1), write(tmp_path / "original", seed=2)
    Card((Dense("cls", normalise=True),), "", "", 16, 48).write(original)
    with pytest.warns(
        UserWarning, match=r"adapted is pooled by mean and .*original by cls\. The result is pooled by mean"
    ):
        result = merged(model, original)
    assert (result.folder / CARD).read_bytes() == (model / CARD).read_bytes()


# What cannot be merged


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "distilbert"}, "the model types are bert and distilbert"),
        (
            {"intermediate_size": 48},
            r"6 tensors have other shapes, among them encoder\.encoder\.layer\.0\..* \(64, 48\)",
        ),
        (
            {"num_hidden_layers": 3},
            r"16 tensors of the encoder are in one alone, among them encoder\.encoder\.layer\.2\.",
        ),
        ({"num_attention_heads": 4}, "they have 2 and 4 attention heads"),
        ({"max_position_embeddings": 70}, r"position_embeddings\.weight \(66 x 32, 70 x 32\)"),
    ],
)
def test_models_of_another_make_are_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    model, original = write(tmp_path / "adapted"), write(tmp_path / "original", **changes)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=f"adapted and .*original are not of one make: .*{says}"):
        merged(model, original)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["adapted", "original"]


def test_other_tokens_are_refused_and_other_files_of_the_same_are_not(tmp_path: Path) -> None:
    model, original = write(tmp_path / "adapted"), write(tmp_path / "original", seed=2)
    file = original / "tokenizer.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"decoder": None}))
    merged(model, original)
    words = said["model"]["vocab"]
    words["river"], words["comet"] = words["comet"], words["river"]
    file.write_text(json.dumps(said))
    with pytest.raises(
        CheckpointError, match="their tokenizers have 109 and 109 tokens and differ in 'comet', 'river'"
    ):
        merged(model, original, overwrite=True)


def test_faults_are_told_together(tmp_path: Path) -> None:
    model, original = (
        write(tmp_path / "adapted"),
        write(tmp_path / "original", num_attention_heads=1, intermediate_size=16),
    )
    with pytest.raises(CheckpointError, match="2 and 1 attention heads; 6 tensors have other shapes"):
        merged(model, original)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ((), "from 0 to 1, not none"),
        ((1.5,), "from 0 to 1, not 1.5"),
        ((float("nan"),), "not nan"),
        ((0.3, 0.3), "a number twice: 0.3, 0.3"),
        ((0.3, 0.5), "one of the weights 0.3, 0.5 is chosen on data sets"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights: tuple[float, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Merge("a", "b", Path("out"), weights)


def test_an_existing_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    model, original = write(tmp_path / "adapted", seed=1), write(tmp_path / "original", seed=2)
    first = tensors(merged(model, original, 0.5).folder)
    with pytest.raises(StorageError, match="exists already"):
        merged(model, original, 1.0)
    assert same_bits(tensors(tmp_path / "merged"), first)
    assert same_bits(tensors(merged(model, original, 1.0, overwrite=True).folder), tensors(model))


# Choosing


def values_of(report: Report) -> dict[str, float]:
    return {system.name: float(system.values["nDCG@10"].mean()) for system in report.systems}


def test_each_model_is_judged_on_each_data_set_and_the_best_weight_is_taken(tmp_path: Path, dataset: Path) -> None:
    model, original = write(tmp_path / "adapted", seed=1), write(tmp_path / "original", seed=2)
    other = toys.write_dataset(tmp_path / "other")
    lines = (other / "qrels" / "train.tsv").read_text().splitlines()
    (other / "qrels" / "dev.tsv").write_text("\n".join(lines[:8]) + "\n")
    own, retention = Format.named(str(dataset)), Format.named(str(other))
    chosen = set()
    for weights in ((0.0, 1.0), (1.0, 0.0)):
        result = merged(model, original, *weights, dataset=own, retention=retention, overwrite=True)
        assert [(report.dataset, len(report.queries)) for report in result.reports] == [
            (str(dataset), 10),
            (str(other), 7),
        ]
        sums = dict.fromkeys(weights, 0.0)
        for report in result.reports:
            found = values_of(report)
            assert list(found)[:2] == ["original (original)", "adapted (adapted)"]
            assert found["merged, weight 0"] == found["original (original)"]
            assert found["merged, weight 1"] == found["adapted (adapted)"]
            for weight in weights:
                sums[weight] += found[f"merged, weight {weight:g}"]
        assert sums[0.0] != sums[1.0] and result.weight == max(weights, key=sums.__getitem__)
        chosen.add(result.weight)
        assert same_bits(tensors(result.folder), tensors(model if result.weight else original))
        written = json.loads((result.folder / "merge.json").read_text())
        assert written["weight"] == result.weight and [len(report["systems"]) for report in written["reports"]] == [
            4,
            4,
        ]
    assert len(chosen) == 1


def report_of(*values: float) -> Report:
    """A report in which the original and the adapted model have 0, and the merged ones what is given."""
    systems = [
        SystemResult(f"s{number}", {}, {"nDCG@10": np.array([v, v])}) for number, v in enumerate([0, 0, *values])
    ]
    return Report("d", "dev", ("nDCG@10",), ("a", "b"), tuple(systems))


def test_the_best_is_the_best_in_the_mean_over_both() -> None:
    task = Merge("a", "b", Path("out"), (0.2, 0.5, 0.8), Format.named("python_docs"))
    own, retention = report_of(0.6, 0.8, 0.9), report_of(0.7, 0.6, 0.3)
    assert task._best([own]) == 0.8 and task._best([retention]) == 0.2 and task._best([own, retention]) == 0.5
    assert task._best([report_of(0.5, 0.5, 0.5)]) == 0.2


def test_one_data_set_is_enough_and_none_is_too(tmp_path: Path, dataset: Path) -> None:
    model, original = write(tmp_path / "adapted", seed=1), write(tmp_path / "original", seed=2)
    result = merged(model, original, 0.4, retention=Format.named(str(dataset)), split="test")
    assert [(report.split, len(report.systems)) for report in result.reports] == [("test", 3)] and result.weight == 0.4
    assert merged(model, original, 0.4, overwrite=True).reports == ()


def test_a_split_that_is_missing_is_named_before_anything_is_encoded(tmp_path: Path, dataset: Path) -> None:
    other = toys.write_dataset(tmp_path / "other")
    (other / "qrels" / "dev.tsv").unlink()
    with pytest.raises(DataError, match="other has no judgments for the split 'dev'"):
        merged(tmp_path / "a", tmp_path / "b", dataset=Format.named(str(dataset)), retention=Format.named(str(other)))
    assert not (tmp_path / "merged").exists()
