"""Distillation: copies with fewer layers, the distance to the teacher's vectors, and students that learn them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toys
from encloze import recipe
from encloze.backbones.base import Backbone
from encloze.backbones.hf.smaller_models import evenly_spaced, with_layers
from encloze.commands.base import TrainingResult
from encloze.commands.distill import Distill
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.encoders.base import Encoder
from encloze.encoders.torch import TorchEncoder
from encloze.errors import CheckpointError, EnclozeError, RecipeError
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.base import Head
from encloze.models.heads.dense import Dense
from encloze.models.heads.ordinary_tokens import OrdinaryTokens
from encloze.models.heads.sparse import Sparse
from encloze.models.origins.pretrained import Pretrained
from encloze.models.origins.scratch import Scratch
from encloze.storage.run_state import RunState
from encloze.training.arguments import TrainingArguments
from encloze.training.distillation import DistillationBatches, DistillationModule, TeacherVectors

pytestmark = pytest.mark.filterwarnings("ignore:.*truncated")  # on purpose, see write_teacher
FAMILIES = "bert", "deberta_v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm_roberta"
QUICK = TrainingArguments(steps=3, precision="float32", logging_steps=1, save_steps=0)
HEADS: dict[str, tuple[Head, ...]] = {
    "dense": (Dense("mean", True),),
    "projected": (Dense("cls", False, dim=8, bias=True, activation="tanh"),),
    "sparse": (Sparse(document_top_k=20),),
    "both": (Dense("cls", True), Sparse(query_encoding="bag_of_words")),
    "ordinary_tokens": (OrdinaryTokens(),),
}


def write_teacher(folder: Path, heads: tuple[Head, ...] = HEADS["dense"], *, layers: int = 4) -> Path:
    """Write a model with prompts and with limits that truncate some texts."""
    tokenizer = toys.tokenizer()
    config = EncoderConfig(heads, "find: ", "text: ", max_query_tokens=9, max_document_tokens=24)
    folder.mkdir(parents=True)
    BiEncoder(toys.backbone(tokenizer.vocab_size, layers=layers), tokenizer, config).save(folder)
    return folder


def distill(teacher: Path, dataset: Path, **settings: Any) -> TrainingResult:
    settings = {"training": QUICK, **settings}
    return Distill(
        str(teacher),
        recipe.coerce(Format, str(dataset), source="test", name="corpus"),
        teacher.with_name("student"),
        **settings,
    ).run()


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# Layers


def test_layers_are_evenly_spaced() -> None:
    assert evenly_spaced(3, 6) == [0, 2, 5] and evenly_spaced(6, 12) == [0, 2, 4, 7, 9, 11]
    assert evenly_spaced(4, 4) == [0, 1, 2, 3] and evenly_spaced(1, 4) == [0]
    for count in (0, 5):
        with pytest.raises(ValueError, match="the model has 4 layers: a copy can have from 1 to 4"):
            evenly_spaced(count, 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_copy_has_the_chosen_layers_and_is_what_its_folder_loads_as(family: str, tmp_path: Path) -> None:
    config = copy.deepcopy(toys.encoder(family, 60).config)
    config.num_hidden_layers = 4
    if family == "modernbert":
        config.layer_types = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
        config.sliding_window = 2
    torch.manual_seed(0)
    whole = Backbone.from_config(config).eval()
    ids = torch.randint(5, 60, (3, 20))
    mask = torch.ones_like(ids).bool()
    chosen = [0, 2, 3]
    smaller = type(whole)(with_layers(whole.model, chosen), has_mlm_head=True).eval()
    by_hand = copy.deepcopy(whole)
    del by_hand.layers()[1]  # every family calls its layers one after another
    by_hand.config.num_hidden_layers = 3
    torch.testing.assert_close(smaller.encode(ids, mask), by_hand.encode(ids, mask))
    assert not torch.allclose(smaller.encode(ids, mask), whole.encode(ids, mask), atol=1e-3)
    smaller.save(tmp_path)
    loaded = Backbone.load(tmp_path, require_mlm_head=True).eval()
    torch.testing.assert_close(loaded.encode(ids, mask), smaller.encode(ids, mask))
    torch.testing.assert_close(
        loaded.mlm_logits(loaded.encode(ids, mask)), smaller.mlm_logits(smaller.encode(ids, mask))
    )
    assert len(whole.layers()) == 4


# The loss


@pytest.mark.parametrize("heads", HEADS)
def test_a_student_with_all_layers_starts_at_the_vectors_of_its_teacher(
    heads: str, dataset: Path, tmp_path: Path
) -> None:
    """Prompts, length limits and special tokens of both sides are therefore those of the teacher."""
    teacher = write_teacher(tmp_path / "teacher", HEADS[heads])
    result = distill(teacher, dataset, layers=4, training=QUICK)
    first = log_of(result.folder)[0]
    terms = {name: value for name, value in first.items() if name.endswith("distillation")}
    assert len(terms) == len(HEADS[heads])
    # a pruned number of the teacher is 0, and that of the student is not pruned in training
    limit = 1.0 if heads in ("sparse", "ordinary_tokens") else 1e-2
    assert all(0 <= value < limit for value in terms.values()), terms


def test_the_loss_is_the_squared_distance_divided_by_the_mean_squared_norm(dataset: Path, tmp_path: Path) -> None:
    made = write_teacher(tmp_path / "teacher", HEADS["both"])
    teacher = BiEncoder.load(str(made), precision="float32")
    student = BiEncoder.load(str(write_teacher(tmp_path / "other", HEADS["both"], layers=2)), precision="float32")
    corpus, queries = (
        Corpus.from_format(recipe.coerce(Format, str(dataset), source="test", name="corpus")),
        ["find a river", "old engine repair"],
    )
    targets = TeacherVectors(TorchEncoder(teacher), corpus, queries, tmp_path / "teacher.npy")
    batches = DistillationBatches(student, corpus, queries, targets)
    indices = np.array([41, 3, 17, 40, 0])  # documents 0, 3 and 17, and both queries
    batch = batches(indices, 0, torch.device("cpu"))
    sums = DistillationModule(student, targets.scales).eval()(batch).sums
    assert {name: int(count) for name, count in batch.counts().items()} == dict.fromkeys(sums, 5)
    texts = [text for number, text in enumerate(corpus.texts()) if number in (0, 3, 17)]
    everything = [teacher.encode_documents(list(corpus.texts())), teacher.encode_queries(queries)]
    for view, term in (("dense", "embedding_distillation"), ("sparse", "term_weight_distillation")):
        pairs = [
            (teacher.encode_documents(texts), student.encode_documents(texts)),
            (teacher.encode_queries(queries), student.encode_queries(queries)),
        ]
        arrays = [[matrix(getattr(vectors, view)) for vectors in pair] for pair in pairs]
        norms = np.concatenate([(matrix(getattr(part, view)) ** 2).sum(1) for part in everything])
        expected = sum(((one - other) ** 2).sum() for one, other in arrays) / norms.mean()
        assert float(sums[term].detach()) == pytest.approx(expected, rel=1e-4)
    assert targets.scales["dense"] == pytest.approx(1.0)


def matrix(vectors: Any) -> np.ndarray:
    return np.asarray(vectors.toarray() if hasattr(vectors, "toarray") else vectors, np.float64)


def test_lengths_are_those_of_the_padded_texts(dataset: Path, tmp_path: Path) -> None:
    student = BiEncoder.load(str(write_teacher(tmp_path / "teacher")))
    corpus, queries = (
        Corpus.from_format(recipe.coerce(Format, str(dataset), source="test", name="corpus")),
        ["river", "a very long query about many subjects at once"],
    )
    batches = DistillationBatches(
        student, corpus, queries, TeacherVectors(TorchEncoder(student), corpus, queries, tmp_path / "teacher.npy")
    )
    for index in (0, 12, 40, 41):
        (part,) = batches(np.array([index]), 0, torch.device("cpu")).parts
        assert part.texts.ids.shape == (1, batches.lengths[index])
    assert batches.lengths.max() == 24 and batches.lengths[41] == 9


def test_micro_batches_do_not_change_the_weights(dataset: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher")
    states = []
    for parts in (1, 3):
        training = TrainingArguments(steps=3, micro_batches=parts, precision="float32", save_steps=0)
        result = distill(teacher, dataset, training=training, overwrite=True)
        states.append(BiEncoder.load(str(result.folder)).state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], atol=1e-4, rtol=1e-3)


# Students


@pytest.mark.parametrize("heads", ["dense", "projected", "both"])
def test_a_student_comes_closer_to_its_teacher(heads: str, dataset: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher", HEADS[heads])
    training = TrainingArguments(learning_rate=3e-3, steps=40, precision="float32", logging_steps=1, save_steps=0)
    result = distill(teacher, dataset, training=training, batch_size=32)
    log = log_of(result.folder)
    for term in (name for name in log[0] if name.endswith("distillation")):
        assert log[-1][term] < 0.5 * log[0][term], term
    assert json.loads((result.folder / "config.json").read_text())["num_hidden_layers"] == 2
    student, original = Encoder.from_pretrained(result.folder), Encoder.from_pretrained(teacher)
    assert student.views == original.views and student.fingerprint != original.fingerprint
    effect = json.loads((result.folder / "effect.json").read_text())
    assert effect["split"] == "dev" and effect["queries"] == 10
    share = effect["means"]["student"] / effect["means"]["teacher"]
    assert result.verdict is not None and f"The student has {share:.1%} of the teacher's nDCG@10" in str(result.verdict)
    assert result.verdict.has_learned == (share >= 0.95)
    assert "2 layers and" in (result.folder / "README.md").read_text()


def test_queries_of_the_training_split_are_trained_on(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = write_teacher(tmp_path / "teacher")
    with caplog.at_level("INFO", "encloze"):
        distill(teacher, dataset)
        assert "on the documents and on 20 queries of train" in caplog.text
        caplog.clear()
        distill(teacher, dataset, split=None, evaluate_on=None, overwrite=True)
        assert "steps" in caplog.text and "queries of" not in caplog.text
    text = tmp_path / "plain.txt"
    text.write_text("\n".join(toys.texts()))
    result = distill(teacher, text, overwrite=True)
    assert result.verdict is None and not (result.folder / "effect.json").exists()


def test_another_encoder_gets_a_projection_to_the_size_of_the_teacher(dataset: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher", HEADS["projected"])
    other = toys.write_model(tmp_path / "other")  # hidden size 32, and the teacher's embeddings have 8 numbers
    result = distill(teacher, dataset, student=Pretrained(str(other)))
    student = BiEncoder.load(str(result.folder))
    assert student.views == {"dense": 8} and student.config.dense == Dense("cls", False, 8)
    assert student.config.query_prompt == "" and student.config.max_query_tokens == 9
    same_size = write_teacher(tmp_path / "same", HEADS["dense"])
    result = distill(same_size, dataset, student=Pretrained(str(other)), overwrite=True)
    assert BiEncoder.load(str(result.folder)).config.dense == Dense("cls", True)
    assert json.loads((result.folder / "inputs.json").read_text())["inputs"]["student"]["path"] == str(other)


def test_a_student_may_start_from_random_weights(dataset: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher")
    result = distill(teacher, dataset, student=Scratch("tiny"), evaluate_on=None)
    student = BiEncoder.load(str(result.folder))
    assert student.views == {"dense": 32} and student.backbone.hidden_size == 128


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 5}, "layers: the model has 4 layers: a copy can have from 1 to 4, not 5"),
        ({"split": "dev", "evaluate_on": "dev"}, "evaluate_on is the split 'dev' that is trained on"),
        ({"layers": 2, "student": Pretrained("minilm")}, "Give one of the two"),
        ({"training": TrainingArguments(freeze_encoder_steps=2)}, "freeze_encoder_steps must be 0"),
        ({"split": "missing"}, "has no judgments for the split 'missing'"),
    ],
)
def test_a_wrong_setting_is_an_error_and_writes_nothing(
    settings: dict[str, Any], message: str, dataset: Path, tmp_path: Path
) -> None:
    teacher = write_teacher(tmp_path / "teacher")
    with pytest.raises((EnclozeError, ValueError), match=message):
        distill(teacher, dataset, **settings)
    assert {path.name for path in tmp_path.iterdir()} == {"teacher", "toys"}


def test_term_weights_need_a_student_with_the_vocabulary_of_the_teacher(dataset: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher", HEADS["sparse"])
    with pytest.raises(RecipeError, match="student: its vocabulary differs from that of the teacher"):
        distill(teacher, dataset, student=Pretrained("minilm"))
    other = toys.write_model(tmp_path / "other")
    assert BiEncoder.load(str(distill(teacher, dataset, student=Pretrained(str(other))).folder)).views == {
        "sparse": toys.tokenizer().vocab_size
    }


def test_a_reranker_is_refused_as_teacher(dataset: Path, model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    with pytest.raises(CheckpointError, match="is a re-ranker or a classifier. Give an encoder as teacher"):
        distill(model, dataset)


def test_a_resumed_run_refuses_another_teacher(dataset: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher")
    state = RunState(tmp_path / "student")
    command = Distill(
        str(teacher),
        recipe.coerce(Format, str(dataset), source="test", name="corpus"),
        tmp_path / "student",
        training=QUICK,
    )
    from encloze.settings import plain

    settings = {name: value for name, value in plain(command).items() if name not in ("resume", "overwrite", "type")}
    state.prepare(settings, resume=False, overwrite=False)
    state.open({"teacher": "0123"})
    with pytest.raises(CheckpointError, match="was started with a different teacher"):
        distill(teacher, dataset, resume=True)
