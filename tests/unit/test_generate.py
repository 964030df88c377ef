"""Command generate: filters, splits, output, and resumed runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import toys
from chat_server import chat_server, completion
from encloze import recipe
from encloze.backbones.hf.generation import TextGenerationModel
from encloze.cli.main import main
from encloze.commands.generate import Generate
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.formats.generated_queries import GeneratedQueries
from encloze.data.query_filter import (
    COPIED,
    EMPTY,
    IN_BOTH_SPLITS,
    NOT_RETRIEVED,
    REPEATED,
    filter_queries,
    group_by_split,
    split_of_document,
)
from encloze.data.records import Document
from encloze.errors import DataError, EndpointError
from encloze.generators.base import GeneratedTexts, Generator, SourceDocument
from encloze.storage.manifest import check_manifest
from encloze.systems.bm25 import Bm25
from encloze.systems.model import Model


@dataclass(frozen=True)
class FixedGenerator(Generator):
    """Generator with fixed texts by the first word of a document's title; by default one text with the title."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    """Texts by word."""

    @property
    def documents_per_batch(self) -> int:
        return 4

    def prepare(self, queries_per_document: int, seed: int) -> Any:
        return self

    def generate(self, batches: Iterable[list[SourceDocument]]) -> Iterator[list[GeneratedTexts]]:
        for batch in batches:
            yield [
                GeneratedTexts(d.number, self.texts.get(d.title.split()[0], [f"what of the {d.title}?"])) for d in batch
            ]


def generate(
    dataset: Path, tmp_path: Path, texts: dict[str, list[str]] | None = None, output: str = "out", **settings: Any
) -> Any:
    """Return the result of the command, and the data set of the toy documents with the generated queries."""
    settings = {"overwrite": True, "min_words": 1, **settings}
    corpus = Format.from_name(str(dataset))
    result = Generate(corpus, FixedGenerator(texts=texts or {}), tmp_path / output, **settings).run()
    return result, GeneratedQueries(corpus, tmp_path / output)


def relevant_documents(data: GeneratedQueries) -> dict[str, dict[str, set[str]]]:
    """Return the relevant documents by split and text of the query."""
    result: dict[str, dict[str, set[str]]] = {}
    for split in data.splits():
        dataset = DatasetSplit(data, split)
        result[split] = {q.text: set(dataset.judgments[q.id]) for q in dataset.queries}
    return result


# Filters


def test_texts_that_are_no_queries_are_rejected_and_counted() -> None:
    river = Document("d1", "River history", "A river was first seen. It flows.")
    texts = ["", " ?", "Who saw it?", "who  SAW it", "river history", "A river was", "river history: a", "first seen"]
    dropped = Counter[str]()
    found = filter_queries([(river, texts), (Document("d2", "", "A riverbank."), ["a river", "Who saw it!"])], dropped)
    assert {query.text: query.document_ids for query in found.values()} == {
        "Who saw it?": ["d1", "d2"],
        "river history: a": ["d1"],
        "first seen": ["d1"],
        "a river": ["d2"],
    }
    assert dropped == {EMPTY: 2, REPEATED: 1, COPIED: 2}


def test_each_query_is_relevant_to_its_document(dataset: Path, tmp_path: Path) -> None:
    made, data = generate(dataset, tmp_path, dev_ratio=0.3)
    found = relevant_documents(data)
    assert {t: d for part in found.values() for t, d in part.items()} == {
        f"what of the {d['title']}?": {d["_id"]} for d in toys.documents()
    }
    assert made.queries == {split: len(found[split]) for split in ("train", "dev")} and made.documents == 40
    assert set(found) == {"train", "dev"} and not made.dropped
    assert len(made.examples) == 5 and all(text in made.examples[0][1] for text in made.examples[0][0][12:-1].split())
    check_manifest(tmp_path / "out", contents=True)
    assert not (tmp_path / "out" / "corpus.jsonl").exists() and not list(tmp_path.glob("*.checkpoint"))


def test_equal_queries_of_several_documents_are_merged(dataset: Path, tmp_path: Path) -> None:
    made, data = generate(dataset, tmp_path, {"river": ["How deep?", "how  deep"]}, dev_ratio=0.0)
    found = relevant_documents(data)
    assert found["train"]["How deep?"] == {
        f"river-{aspect}" for aspect in ("history", "structure", "dangers", "repair")
    }
    assert made.dropped == {REPEATED: 4} and list(found) == ["train"]


@given(
    st.lists(st.lists(st.sampled_from("uvwxyz"), max_size=4), min_size=1, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_queries_of_documents_in_two_splits_are_rejected(texts: list[list[str]], in_dev: list[bool]) -> None:
    documents = [Document(f"d{n}", "", f"text {n}") for n in range(len(texts))]
    splits = {document.id: "dev" if dev else "train" for document, dev in zip(documents, in_dev, strict=False)}
    dropped = Counter[str]()
    parts = group_by_split(filter_queries(zip(documents, texts, strict=True), dropped).values(), splits, dropped)
    for split, part in parts.items():
        assert {splits[document] for query in part for document in query.document_ids} == {split}
    splits_of = {t: {splits[f"d{n}"] for n, own in enumerate(texts) if t in own} for t in "uvwxyz"}
    assert {query.text for part in parts.values() for query in part} == {t for t, s in splits_of.items() if len(s) == 1}
    assert dropped[IN_BOTH_SPLITS] == sum(len(s) == 2 for s in splits_of.values())
    assert dropped[REPEATED] == sum(len(own) - len(set(own)) for own in texts)


def test_copies_of_a_text_are_in_one_split() -> None:
    splits = {split_of_document(Document(f"d{n}", "", "A river  flows."), 0, 0.5) for n in range(20)}
    assert len(splits) == 1
    many = Counter(split_of_document(Document("d", "", f"text {n}"), 0, 0.25) for n in range(2000))
    assert 430 < many["dev"] < 570


def test_documents_are_sampled_by_seed_and_id(dataset: Path, tmp_path: Path) -> None:
    def sample(**more: Any) -> set[str]:
        _, data = generate(dataset, tmp_path, dev_ratio=0.0, **more)
        return set().union(*relevant_documents(data)["train"].values())

    some = sample(max_documents=7)
    assert len(some) == 7 and some == sample(max_documents=7) < sample(max_documents=20)
    assert sample(max_documents=7, seed=1) != some and len(sample(max_documents=99)) == 40


def test_short_documents_are_skipped(dataset: Path, tmp_path: Path) -> None:
    lengths = [len(text.split()) for text in toys.texts()]
    least = sorted(lengths)[20]
    made, _ = generate(dataset, tmp_path, min_words=least)
    assert made.documents == sum(length >= least for length in lengths) < 40
    (dataset / "corpus.jsonl").write_text(
        json.dumps({"_id": "no blanks", "title": "猫", "text": "吾輩は猫である。名前はまだ無い。どこで生れたか。"})
        + "\n",
        "utf-8",
    )
    made, _ = generate(dataset, tmp_path, min_words=10)
    assert made.documents == 1
    with pytest.raises(DataError, match=r"has no document with 999 or more words\. Lower min_words"):
        generate(dataset, tmp_path, min_words=999)


def test_round_trip_keeps_queries_that_retrieve_one_of_their_documents(dataset: Path, tmp_path: Path) -> None:
    generated = {"river": ["the wet river"], "comet": ["my comet", "broken violin repair"]}
    made, data = generate(dataset, tmp_path, generated, dev_ratio=0.0)
    whole = DatasetSplit(data, "train")
    assert made.queries["train"] == 32 + 1 + 2 and "broken violin repair" in relevant_documents(data)["train"]
    for depth in (1, 3):
        run = Bm25().rank(whole, depth).run
        found = {
            q.text: whole.judgments[q.id].keys() for q in whole.queries if run[q.id].keys() & whole.judgments[q.id]
        }
        result, filtered = generate(
            dataset, tmp_path, generated, dev_ratio=0.0, round_trip=Bm25(), round_trip_depth=depth, output="filtered"
        )
        assert relevant_documents(filtered)["train"] == found and result.dropped[NOT_RETRIEVED] == 35 - len(found) > 0
        assert "my comet" in found and "broken violin repair" not in found
        assert found["the wet river"] == {f"river-{a}" for a in ("history", "structure", "dangers", "repair")}


def test_no_output_is_written_if_all_texts_are_rejected(dataset: Path, tmp_path: Path) -> None:
    nothing = {str(d["title"]).split()[0]: ["", "  ", "?"] for d in toys.documents()}
    with pytest.raises(
        DataError, match=r"texts that were generated for 40 documents of .* were rejected \(120 empty\)\. Check"
    ):
        generate(dataset, tmp_path, nothing)
    lost = {name: ["another planet"] for name in nothing}
    with pytest.raises(DataError, match=rf"\(1 {NOT_RETRIEVED}\)"):
        generate(dataset, tmp_path, lost, round_trip=Bm25(), dev_ratio=0.0)
    assert not list(tmp_path.glob("out*"))


def test_generation_stops_if_all_texts_are_empty(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encloze.commands.generate.MIN_TEXTS_TO_STOP", 20)
    nothing = {str(d["title"]).split()[0]: [""] for d in toys.documents()}
    with pytest.raises(DataError, match="generated for 8 documents"):
        generate(dataset, tmp_path, nothing)


# Command line


class Killed(BaseException):
    """Stands for a killed process."""


def command(dataset: Path, output: Path, *more: Any) -> int:
    words = ["generate", "--corpus", dataset, "--output", output, "--generator.precision", "float32", *more]
    return main([*map(str, words), "--generator.batch_size", "8", "--generator.max_new_tokens", "6"])


def round_trip(model: Path) -> tuple[Any, ...]:
    """Return flags of a round trip that some random queries pass."""
    return ("--round_trip", model, "--round_trip.precision", "float32", "--round_trip_depth", 20)


def file_contents(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.suffix in (".jsonl", ".tsv")}


def test_a_killed_run_is_resumed(
    tmp_path: Path, dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--generator", toys.write_writer(tmp_path / "t5"), "--dev_ratio", "0.2", *round_trip(model))
    assert command(dataset, tmp_path / "whole", *more) == 0
    output = capsys.readouterr().out
    assert (
        "queries for 40 documents to" in output
        and '" for the document: ' in output
        and "were dropped: their document" in output
    )
    assert "Next: encloze mine --dataset '{type: generated_queries, corpus: FOLDER, path: " in output
    whole, calls = TextGenerationModel.generate, []

    def killed_at_the_third_call(self: Any, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise Killed
        return whole(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(TextGenerationModel, "generate", killed_at_the_third_call)
        with pytest.raises(Killed):
            command(dataset, tmp_path / "out", *more)
    with (tmp_path / "out.checkpoint" / "generated.jsonl").open("a") as stream:
        stream.write('[[17, ["half a ')  # an incomplete line, as after a kill
    calls.clear()
    monkeypatch.setattr(
        TextGenerationModel, "generate", lambda self, *given: calls.append(given) or whole(self, *given)
    )
    assert command(dataset, tmp_path / "out", *more, "--resume") == 0
    assert len(calls) == 3 and file_contents(tmp_path / "out") == file_contents(tmp_path / "whole")
    assert len(file_contents(tmp_path / "out")) == 3 and not list(tmp_path.glob("*.checkpoint"))


def test_texts_are_kept_if_the_round_trip_is_killed(
    tmp_path: Path, dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("--generator", toys.write_writer(tmp_path / "t5"), *round_trip(model))
    with monkeypatch.context() as patch:
        patch.setattr(Model, "rank", None)
        with pytest.raises(TypeError):
            command(dataset, tmp_path / "out", *more)
    monkeypatch.setattr(TextGenerationModel, "generate", None)
    assert command(dataset, tmp_path / "out", *more, "--resume") == 0


@pytest.mark.parametrize("changed", ["the texts", "the model", "a setting"])
def test_a_run_is_not_resumed_with_other_inputs_or_settings(
    changed: str, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = toys.write_writer(tmp_path / "t5")
    with monkeypatch.context() as patch:
        patch.setattr(TextGenerationModel, "generate", None)
        with pytest.raises(TypeError):
            command(dataset, tmp_path / "out", "--generator", writer)
    if changed == "the texts":
        file = dataset / "corpus.jsonl"
        file.write_text(file.read_text().replace("river was", "river is"))
    elif changed == "the model":
        config = json.loads((writer / "config.json").read_text())
        (writer / "config.json").write_text(json.dumps(config | {"dropout_rate": 0.3}))
    more = ("--queries_per_document", "2") if changed == "a setting" else ()
    capsys.readouterr()
    assert command(dataset, tmp_path / "out", "--generator", writer, "--resume", *more) == 2
    says = {"the texts": "started with a different corpus", "the model": "started with a different generator.model",
            "a setting": "started with other settings: queries_per_document was 3 and is now 2"}[changed]  # fmt: skip
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "generator: is required"),
        (("--generator", "t5", "--queries_per_document", "0"), "queries_per_document must be 1 or more, not 0"),
        (("--generator", "t5", "--max_documents", "0"), "max_documents must be 1 or more, not 0"),
        (("--generator", "t5", "--round_trip_depth", "0"), "round_trip_depth must be 1 or more, not 0"),
        (("--generator", "t5", "--dev_ratio", "1"), "dev_ratio must be 0 or more and below 1, not 1"),
        (("--generator", "t5", "--generator.prompt", "Ask."), "generator: prompt must contain {text}"),
        (("--generator", "nobody/nothing"), "could not be downloaded from the Hugging Face hub"),
        (("--generator", "endpoint", "--generator.model", "m"), "generator.url: is required"),
    ],
)
def test_invalid_settings_are_errors(
    flags: tuple[str, ...], says: str, tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--corpus", str(dataset), "--output", str(tmp_path / "out"), *flags]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.glob("out*"))


def test_results_of_an_endpoint_are_saved_and_its_key_is_not(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-7")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    budget = [20]

    def respond(body: dict[str, Any], count: int) -> tuple[int, Any]:
        budget[0] -= 1
        return (200, completion(f"question {count}")) if budget[0] >= 0 else (400, b"no more")

    with chat_server() as server:
        server.responder = respond
        tree = {"corpus": str(dataset), "output": str(tmp_path / "out"), "queries_per_document": 2}
        tree["generator"] = {
            "type": "endpoint",
            "url": server.url,
            "model": "m",
            "api_key_variable": "MY_KEY",
            "concurrency": 1,
        }
        with pytest.raises(EndpointError, match="no more"):
            recipe.build(Generate, tree).run()
        saved = (tmp_path / "out.checkpoint" / "generated.jsonl").read_text().splitlines()
        assert len(saved) == 10
        budget[0] = 60
        result = recipe.build(Generate, {**tree, "resume": True}).run()
    assert sum(result.queries.values()) == 80 and budget == [0]
    assert not any(b"secret-7" in file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
