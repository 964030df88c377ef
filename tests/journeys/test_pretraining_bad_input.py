"""Pre-training with unsuitable input: one clear message, exit code 2, and no files; or a note."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import toys
from encloze import progress
from encloze.cli.main import main
from encloze.data.corpus import Corpus
from encloze.data.formats.base import Format
from encloze.objectives.base import Objective
from encloze.training.pretraining_batches import PretrainingBatches

Check = Callable[..., str]
SHORT = ("--training.steps", "2", "--training.precision", "float32")
UNMASKED = ("cropping", "simcse")


def listing(folder: Path) -> dict[str, float]:
    """Return all paths below a folder, hidden ones included, with the modification times of files."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns * path.is_file() for path in folder.rglob("*")}


def pretrain(tmp_path: Path, **settings: object) -> int:
    """Return the exit code of the command line. Settings are flags, with __ in place of a dot."""
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('__', '.')}", str(value))]
    return main(["pretrain", *flags, *SHORT, "--output", str(tmp_path / "out")])


@pytest.fixture
def refused(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Start a pre-training that must be refused; returns the message."""

    def run(*says: str, **settings: object) -> str:
        capsys.readouterr()
        before = listing(tmp_path)
        code = pretrain(tmp_path, **settings)
        captured = capsys.readouterr()
        assert code == 2 and "Traceback" not in captured.out + captured.err
        said = captured.err[captured.err.index("encloze: ") :]
        for words in says:
            assert words in said
        assert listing(tmp_path) == before, "files were left or changed"
        assert not list(cache.rglob(".*")), "files were left in the cache"
        return said

    return run


def write_corpus(file: Path, texts: list[str], **more: Callable[[int], object]) -> Path:
    """Write texts as JSON lines."""
    rows = [{"_id": str(n), "text": text, **{key: of(n) for key, of in more.items()}} for n, text in enumerate(texts)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """Two hundred texts without titles and neighbors, of which ten can be held out."""
    return write_corpus(tmp_path / "alone.jsonl", [f"{text} number {n}" for n in range(5) for text in toys.texts()])


# --------------------------------------------------------------------------------------------------------------- pairs


def test_corpus_without_neighbors_is_refused(alone: Path, model: Path, refused: Check) -> None:
    says = ("alone.jsonl: ", "neighbor", "doc_id and position", "lower --max_tokens", "crops")
    for objective in ("cotmae", "cotmae_v2", "cocondenser"):
        refused(*says, corpus=alone, model=model, objective=objective)


def test_spans_of_long_texts_are_neighbors(tmp_path: Path, alone: Path, model: Path) -> None:
    """The remedies of the message work."""
    assert pretrain(tmp_path, corpus=alone, model=model, objective="cotmae", max_tokens=16) == 0
    assert pretrain(tmp_path / "2", corpus=alone, model=model, objective="cocondenser", objective__context="crops") == 0


def test_query_contexts_without_queries_are_refused(
    tmp_path: Path, alone: Path, dataset: Path, model: Path, refused: Check
) -> None:
    query_as_context = {"model": model, "objective": "cotmae", "objective__context": "queries"}
    says = ("alone.jsonl contains no ", "to another split of this data set", "(near, crops)")
    refused(*says, corpus=alone, **query_as_context)
    says = ("no judgments for the split 'tset'", "dev, test, train")
    refused(*says, corpus=dataset, **query_as_context, objective__context__split="tset")
    (dataset / "queries.jsonl").unlink()
    refused("toys has no queries.jsonl", corpus=dataset, **query_as_context)


# --------------------------------------------------------------------------------------------------------------- texts


def test_texts_of_one_token_are_dropped(
    tmp_path: Path, model: Path, refused: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_corpus(tmp_path / "few.jsonl", ["river", "comet", "glacier"])
    says = ("few.jsonl has no text of 4 tokens or more (it has 3 texts). Use longer texts",)
    refused(*says, corpus=few, model=model, objective="retromae")
    refused(*says, corpus=few, model=model, objective="cropping")
    some = write_corpus(tmp_path / "some.jsonl", ["river", *toys.texts(), "comet"])
    assert pretrain(tmp_path, corpus=some, model=model, objective="retromae") == 0
    assert "2 spans of fewer than 4 tokens are dropped" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "log.jsonl").read_text().splitlines()[-1])["step"] == 2


class Heard(progress.Listener):
    """Records notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("most", [7, 12, 64])
def test_spans_contain_all_tokens_of_a_text(dataset: Path, most: int) -> None:
    tokenizer, heard = toys.tokenizer(), Heard()
    known: Any = Format.from_name(str(dataset))
    corpus = Corpus.from_format(known, pretraining=True)
    with progress.use_listener(heard):
        batches = PretrainingBatches(known, corpus, tokenizer, most, None, 0)
    said = f"40 of 40 texts are longer than {most} tokens and are split into {len(batches.usable)} spans"
    assert heard.notes == ([said] if most < 64 else [])
    spans: dict[int, list[int]] = {}
    for number in batches.usable.tolist():
        made = batches(np.array([number]), 0, torch.device("cpu"))
        ids = made.ids[0, made.attention_mask[0]].tolist()
        assert ids[0] == tokenizer.special_id("cls") and ids[-1] == tokenizer.special_id("sep") and len(ids) <= most
        spans.setdefault(int(batches.spans.text_numbers[number]), []).extend(ids[1:-1])
    assert spans == {n: text.ids.tolist() for n, text in enumerate(tokenizer.encode(list(corpus.texts())))}
    together = batches(batches.usable, 0, torch.device("cpu"))
    assert int(together.attention_mask.sum()) == sum(map(len, spans.values())) + 2 * len(batches.usable)


def test_split_of_long_texts_is_reported(
    tmp_path: Path, dataset: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(tmp_path, corpus=dataset, model=model, objective="retromae", max_tokens=12) == 0
    assert "40 of 40 texts are longer than 12 tokens and are split into 90 spans" in capsys.readouterr().err
    assert pretrain(tmp_path / "2", corpus=dataset, model=model, objective="retromae", max_tokens=6) == 0
    said = capsys.readouterr().err
    assert "longer than 6 tokens" in said and " spans of fewer than 4 tokens are dropped" in said


# ---------------------------------------------------------------------------------------------------------- tokenizers


@pytest.fixture
def maskless(model: Path) -> Path:
    """The model, with a tokenizer that names no mask token."""
    file = model / "tokenizer_config.json"
    names = json.loads(file.read_text())
    del names["mask_token"]
    file.write_text(json.dumps(names))
    return model


def test_masking_objectives_refuse_a_tokenizer_without_mask_token(
    dataset: Path, maskless: Path, refused: Check
) -> None:
    says = ("the tokenizer has no mask token (special tokens: ", "mask_token in its tokenizer_config.json", "cropping)")
    for objective in sorted(set(Objective.members()) - set(UNMASKED)):
        refused(*says, corpus=dataset, model=maskless, objective=objective)


@pytest.mark.parametrize("objective", UNMASKED)
def test_objectives_without_masking_need_no_mask_token(
    tmp_path: Path, dataset: Path, maskless: Path, objective: str
) -> None:
    toys.backbone(toys.tokenizer().vocab_size, dropout=0.1).save(maskless)
    assert pretrain(tmp_path, corpus=dataset, model=maskless, objective=objective) == 0


def test_tokenizer_without_a_padding_token_is_refused(dataset: Path, model: Path, refused: Check) -> None:
    file = model / "tokenizer_config.json"
    file.write_text(
        json.dumps({name: token for name, token in json.loads(file.read_text()).items() if "pad" not in name})
    )
    said = refused("the tokenizer has no ", "pad_token", corpus=dataset, model=model, objective="cropping")
    assert "without masking" not in said


def write_slow(model: Path, **config: object) -> Path:
    """The model, with another tokenizer than the fast one."""
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    return model


# CanineTokenizer makes a dictionary of all Unicode characters.
@pytest.mark.parametrize("name", ["ByT5Tokenizer", pytest.param("CanineTokenizer", marks=pytest.mark.slow)])
def test_slow_tokenizer_is_refused(dataset: Path, model: Path, refused: Check, name: str) -> None:
    write_slow(model, tokenizer_class=name)
    says = (f"{model} has no tokenizer.json: {name} is not a fast tokenizer", "Use a model with a tokenizer.json")
    refused(*says, corpus=dataset, model=model, objective="retromae")


@pytest.mark.parametrize("name", ["BertJapaneseTokenizer", "XLMTokenizer", "NoSuchTokenizer"])
def test_tokenizer_that_cannot_be_loaded_is_reported(dataset: Path, model: Path, refused: Check, name: str) -> None:
    """Files, packages or the class are missing."""
    write_slow(model, tokenizer_class=name)
    says = (f"{model} has no tokenizer.json and no other tokenizer that can be loaded (", "Save the model's")
    said = refused(*says, corpus=dataset, model=model, objective="retromae")
    assert len(said.splitlines()) == 1


def test_tokenizer_code_in_a_model_folder_is_not_run(
    tmp_path: Path, dataset: Path, model: Path, refused: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask
    write_slow(model, tokenizer_class="MyTokenizer", auto_map={"AutoTokenizer": ["mine.MyTokenizer", None]})
    config = json.loads((model / "config.json").read_text()) | {"model_type": "bert"}
    (model / "config.json").write_text(json.dumps(config))
    code = f"import os\nos.mkdir({str(tmp_path / 'touched')!r})\n"
    (model / "mine.py").write_text(f"{code}from transformers import PreTrainedTokenizer as MyTokenizer\n")
    refused(f"{model} has no tokenizer.json and", corpus=dataset, model=model, objective="retromae")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("cased", [False, True])
def test_model_with_a_vocabulary_file_is_pretrained_and_loaded(
    tmp_path: Path, dataset: Path, model: Path, cased: bool
) -> None:
    """The tokenizer made from vocab.txt is saved with its special tokens and gives the same tokens."""
    from transformers import AutoTokenizer

    from encloze.models.checkpoint import load_checkpoint

    pieces = toys.tokenizer().backend.get_vocab()
    (model / "vocab.txt").write_text("\n".join(sorted(pieces, key=lambda piece: pieces[piece])))
    write_slow(model, do_lower_case=not cased, tokenizer_class="BertTokenizer")
    given = load_checkpoint(model, require_mlm_head=False).tokenizer
    (encoded,) = given.encode(["A River"])
    assert (encoded.ids == given.special_id("unk")).all() == cased
    assert pretrain(tmp_path, corpus=dataset, model=model, objective="retromae") == 0
    again = load_checkpoint(tmp_path / "out", require_mlm_head=False).tokenizer
    assert (
        again.special_tokens == given.special_tokens
        and again.encode(["A River"])[0].ids.tolist() == encoded.ids.tolist()
    )
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    framed = [given.special_id("cls"), *encoded.ids.tolist(), given.special_id("sep")]
    assert theirs("A River")["input_ids"] == framed and theirs.mask_token_id == given.special_id("mask")
    index = ["--corpus", str(dataset), "--model", str(tmp_path / "out"), "--output", str(tmp_path / "index")]
    assert main(["index", *index]) == 0


# -------------------------------------------------------------------------------------------------------------- models


class Trap:
    """Creates a folder when its pickle is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("objective", ["retromae", "cropping"])
def test_pickled_code_in_weights_is_not_run(
    tmp_path: Path, dataset: Path, model: Path, refused: Check, objective: str
) -> None:
    (model / "model.safetensors").unlink()
    torch.save({"trap": Trap(tmp_path / "touched")}, model / "pytorch_model.bin")
    says = (f"{model}: pytorch_model.bin is damaged or contains more than weights", "can run code", "model.safetensors")
    refused(*says, corpus=dataset, model=model, objective=objective)
    assert not (tmp_path / "touched").exists()
    torch.load(model / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "touched").exists()  # the trap works


@pytest.mark.parametrize("held", [b"", b"junk", b"PK\x03\x04 no archive"])
def test_damaged_weights_are_reported(dataset: Path, model: Path, refused: Check, held: bytes) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(held)
    refused(f"{model} cannot be loaded as an encoder: ", corpus=dataset, model=model, objective="retromae")


def test_weights_in_pytorch_model_bin_are_loaded(tmp_path: Path, dataset: Path, model: Path) -> None:
    """A pytorch_model.bin that contains only weights is accepted."""
    from safetensors.torch import load_file

    torch.save(load_file(str(model / "model.safetensors")), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    assert pretrain(tmp_path, corpus=dataset, model=model, objective="retromae") == 0


# ------------------------------------------------------------------------------------------------------------ settings


def test_simcse_without_dropout_is_refused(dataset: Path, model: Path, refused: Check) -> None:
    refused("simcse needs dropout", "use cropping", corpus=dataset, model=model, objective="simcse")


@pytest.mark.parametrize("objective", UNMASKED)
def test_encoder_with_all_parameters_cannot_be_frozen(
    dataset: Path, model: Path, refused: Check, objective: str
) -> None:
    toys.backbone(toys.tokenizer().vocab_size, dropout=0.1).save(model)
    says = (
        "training.freeze_encoder_steps: all parameters of this objective belong to the encoder",
        "set this setting to 0",
    )
    refused(*says, corpus=dataset, model=model, objective=objective, training__freeze_encoder_steps=1)


@pytest.mark.parametrize(
    "metric", ["nonsense", "retrieval.zero_shot", "embeddings.nonsense", "held_out.nonsense", "held_out"]
)
def test_unknown_metric_for_best_model_is_refused(alone: Path, model: Path, refused: Check, metric: str) -> None:
    says = (
        f"validation.metric_for_best_model: {metric!r} cannot select the best model. Choose one of: held_out.encoder, "
    )
    settings = {"objective": "retromae", "validation__metric_for_best_model": metric}
    refused(says, corpus=alone, model=model, **settings)


def test_metric_for_best_model_without_monitors_is_refused(
    dataset: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "corpus": dataset,
        "model": model,
        "objective": "retromae",
        "validation__metric_for_best_model": "held_out.encoder",
    }
    assert pretrain(dataset.parent, **given) == 2
    said = capsys.readouterr().err
    assert "No monitors run, because fewer than 8 texts can be held out" in said and "Choose one of: none" in said
    assert not list(dataset.parent.glob("out*"))


@pytest.mark.parametrize("task", ["titles", "neighbors", None])
def test_retrieval_monitor_without_titles_or_neighbors_is_refused(
    alone: Path, model: Path, refused: Check, task: str | None
) -> None:
    monitor = {"monitors__0": "retrieval"} | ({"monitors__0__task": task} if task else {})
    says = (
        f"alone.jsonl has no {task or 'titles'} to evaluate retrieval with",
        "queries with a dataset",
        "or remove the monitor",
    )
    refused(*says, corpus=alone, model=model, objective="retromae", **monitor)


def test_retrieval_monitor_with_queries_needs_a_dataset(alone: Path, model: Path, refused: Check) -> None:
    monitor = {"monitors__0": "retrieval", "monitors__0__task": "queries"}
    refused("monitors[0]: the task queries needs dataset", corpus=alone, model=model, objective="retromae", **monitor)
    monitor |= {"monitors__0__dataset": alone}
    refused("alone.jsonl contains no judgments", corpus=alone, model=model, objective="retromae", **monitor)


@pytest.mark.parametrize("objective", ["cropping", "simcse", "cocondenser"])
def test_contrastive_objectives_need_several_sources(
    tmp_path: Path, model: Path, refused: Check, objective: str
) -> None:
    texts = [text for text in toys.texts() for _ in range(2)]
    book = write_corpus(tmp_path / "book.jsonl", texts, doc_id=lambda n: "one", position=lambda n: n)
    toys.encoder("bert", toys.tokenizer().vocab_size, dropout=0.1).save(model)
    says = ("book.jsonl has a single source", f"{objective} contrasts texts of different sources", "Add documents")
    refused(*says, corpus=book, model=model, objective=objective)


def test_max_tokens_above_the_models_limit_is_refused(alone: Path, model: Path, refused: Check) -> None:
    says = "max_tokens: 4096 exceeds the limit of"
    refused(says, "which is 64", corpus=alone, model=model, objective="mlm", max_tokens=4096)


def test_repeated_monitors_are_refused(alone: Path, model: Path, refused: Check) -> None:
    says = "monitors must not be repeated: held_out"
    refused(says, corpus=alone, model=model, objective="retromae", monitors="held_out,bottleneck,held_out")


def test_the_same_inputs_without_errors_are_accepted(tmp_path: Path, alone: Path, model: Path) -> None:
    titled = write_corpus(tmp_path / "titled.jsonl", toys.texts() * 5, title=lambda n: f"river {n}")
    good = {"model": model, "objective": "retromae", "monitors__0__finetuning_steps": 1, "monitors__0": "retrieval"}
    assert pretrain(tmp_path, corpus=titled, **good, validation__metric_for_best_model="retrieval.zero_shot") == 0
    figures = json.loads((tmp_path / "out" / "monitors.jsonl").read_text().splitlines()[-1])
    assert {"retrieval.zero_shot", "retrieval.finetuned"} < figures.keys()
    shutil.rmtree(tmp_path / "out")
    assert (
        pretrain(
            tmp_path,
            corpus=alone,
            model=model,
            objective="retromae",
            validation__metric_for_best_model="held_out.encoder",
        )
        == 0
    )
