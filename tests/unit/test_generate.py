"""Generated queries: what is kept of them, where they stand, and that a kill changes nothing."""

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
from encloze import recipe
from encloze.backbones._generating import Generating
from encloze.cli.main import main
from encloze.commands._sifting import AGAIN, COPIED, EMPTY, NOT_FOUND, PARTED, sifted, split_of, split_up
from encloze.commands.generate import Generate
from encloze.data.corpus import Corpus
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.data.formats.generated_queries import Asked
from encloze.data.records import Document
from encloze.errors import DataError, EndpointError
from encloze.generators.base import Generator, Source, Written
from encloze.storage.manifest import check_manifest
from encloze.systems.bm25 import Bm25
from encloze.systems.model import Model


@dataclass(frozen=True)
class Fake(Generator):
    """Writes what it is told, by the first word of a document's title, or else asks for the title."""

    told: dict[str, list[str]] = field(default_factory=dict)
    """Texts by word."""

    @property
    def together(self) -> int:
        return 4

    def ready(self, each: int, seed: int) -> Any:
        return self

    def write(self, batches: Iterable[list[Source]]) -> Iterator[list[Written]]:
        for batch in batches:
            yield [Written(s.number, self.told.get(s.title.split()[0], [f"what of the {s.title}?"])) for s in batch]


def generated(
    dataset: Path, tmp_path: Path, told: dict[str, list[str]] | None = None, output: str = "out", **more: Any
) -> Any:
    """What the verb gives back, and the data set that it makes of the toys."""
    more = {"overwrite": True, "least_words": 1, **more}
    made = Generate(Format.named(str(dataset)), Fake(told=told or {}), tmp_path / output, **more).run()
    return made, Asked(Format.named(str(dataset)), tmp_path / output)


def asked(data: Asked) -> dict[str, dict[str, set[str]]]:
    """By split and the words of a query, the documents that it asks for."""
    found: dict[str, dict[str, set[str]]] = {}
    for split in data.splits():
        dataset = DatasetSplit(data, split)
        found[split] = {q.text: set(dataset.judgments[q.id]) for q in dataset.queries}
    return found


# What is kept


def test_what_is_no_query_is_dropped_and_counted() -> None:
    river = Document("d1", "River history", "A river was first seen. It flows.")
    texts = ["", " ?", "Who saw it?", "who  SAW it", "river history", "A river was", "river history: a", "first seen"]
    dropped = Counter[str]()
    found = sifted([(river, texts), (Document("d2", "", "A riverbank."), ["a river", "Who saw it!"])], dropped)
    assert {query.text: query.documents for query in found.values()} == {
        "Who saw it?": ["d1", "d2"],
        "river history: a": ["d1"],
        "first seen": ["d1"],
        "a river": ["d2"],
    }
    assert dropped == {EMPTY: 2, AGAIN: 1, COPIED: 2}


def test_each_query_is_relevant_to_the_document_it_was_made_from(dataset: Path, tmp_path: Path) -> None:
    made, data = generated(dataset, tmp_path, dev_share=0.3)
    found = asked(data)
    assert {t: d for part in found.values() for t, d in part.items()} == {
        f"what of the {d['title']}?": {d["_id"]} for d in toys.documents()
    }
    assert made.queries == {split: len(found[split]) for split in ("train", "dev")} and made.documents == 40
    assert set(found) == {"train", "dev"} and not made.dropped
    assert len(made.examples) == 5 and all(text in made.examples[0][1] for text in made.examples[0][0][12:-1].split())
    check_manifest(tmp_path / "out", contents=True)
    assert not (tmp_path / "out" / "corpus.jsonl").exists() and not list(tmp_path.glob("*.unfinished"))


def test_words_asked_of_several_documents_are_one_query(dataset: Path, tmp_path: Path) -> None:
    made, data = generated(dataset, tmp_path, {"river": ["How deep?", "how  deep"]}, dev_share=0.0)
    found = asked(data)
    assert found["train"]["How deep?"] == {
        f"river-{aspect}" for aspect in ("history", "structure", "dangers", "repair")
    }
    assert made.dropped == {AGAIN: 4} and list(found) == ["train"]


@given(
    st.lists(st.lists(st.sampled_from("uvwxyz"), max_size=4), min_size=1, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_no_document_is_asked_for_in_two_splits(told: list[list[str]], in_dev: list[bool]) -> None:
    documents = [Document(f"d{n}", "", f"text {n}") for n in range(len(told))]
    splits = {document.id: "dev" if dev else "train" for document, dev in zip(documents, in_dev, strict=False)}
    dropped = Counter[str]()
    parts = dict(split_up(sifted(zip(documents, told, strict=True), dropped).values(), splits, dropped))
    for split, part in parts.items():
        assert {splits[document] for query in part for document in query.documents} == {split}
    asked_of = {t: {splits[f"d{n}"] for n, texts in enumerate(told) if t in texts} for t in "uvwxyz"}
    assert {query.text for part in parts.values() for query in part} == {t for t, s in asked_of.items() if len(s) == 1}
    assert dropped[PARTED] == sum(len(s) == 2 for s in asked_of.values())
    assert dropped[AGAIN] == sum(len(texts) - len(set(texts)) for texts in told)


def test_copies_of_a_text_are_in_one_split() -> None:
    splits = {split_of(Document(f"d{n}", "", "A river  flows."), 0, 0.5) for n in range(20)}
    assert len(splits) == 1
    many = Counter(split_of(Document("d", "", f"text {n}"), 0, 0.25) for n in range(2000))
    assert 430 < many["dev"] < 570


def test_documents_are_drawn_by_seed_and_id(dataset: Path, tmp_path: Path) -> None:
    def drawn(**more: Any) -> set[str]:
        _, data = generated(dataset, tmp_path, dev_share=0.0, **more)
        return set().union(*asked(data)["train"].values())

    some = drawn(most_documents=7)
    assert len(some) == 7 and some == drawn(most_documents=7) < drawn(most_documents=20)
    assert drawn(most_documents=7, seed=1) != some and len(drawn(most_documents=99)) == 40


def test_short_documents_are_not_asked_about(dataset: Path, tmp_path: Path) -> None:
    lengths = [len(text.split()) for text in toys.texts()]
    least = sorted(lengths)[20]
    made, _ = generated(dataset, tmp_path, least_words=least)
    assert made.documents == sum(length >= least for length in lengths) < 40
    (dataset / "corpus.jsonl").write_text(
        json.dumps({"_id": "no blanks", "title": "", "text": "吾輩は猫である。名前はまだ無い。どこで生れたか。"})
        + "\n",
        "utf-8",
    )
    data = Format.named(str(dataset))
    assert Generate(data, Fake(told={}), tmp_path / "none", least_words=10)._chosen(Corpus.open(data)) == [0]
    with pytest.raises(DataError, match=r"has no document of 999 words\. Lower least_words"):
        generated(dataset, tmp_path, least_words=999)


def test_only_queries_that_find_a_document_of_theirs_pass_the_round_trip(dataset: Path, tmp_path: Path) -> None:
    told = {"river": ["the wet river"], "comet": ["my comet", "broken violin repair"]}
    made, data = generated(dataset, tmp_path, told, dev_share=0.0)
    whole = DatasetSplit(data, "train")
    assert made.queries["train"] == 32 + 1 + 2 and "broken violin repair" in asked(data)["train"]
    for depth in (1, 3):
        run = Bm25().rank(whole, depth).run
        found = {
            q.text: whole.judgments[q.id].keys() for q in whole.queries if run[q.id].keys() & whole.judgments[q.id]
        }
        again, filtered = generated(
            dataset, tmp_path, told, dev_share=0.0, round_trip=Bm25(), round_trip_depth=depth, output="again"
        )
        assert asked(filtered)["train"] == found and again.dropped[NOT_FOUND] == 35 - len(found) > 0
        assert "my comet" in found and "broken violin repair" not in found
        assert found["the wet river"] == {f"river-{a}" for a in ("history", "structure", "dangers", "repair")}


def test_where_nothing_is_left_nothing_is_written(dataset: Path, tmp_path: Path) -> None:
    nothing = {str(d["title"]).split()[0]: ["", "  ", "?"] for d in toys.documents()}
    with pytest.raises(
        DataError, match=r"no query is left of what was written for 40 documents of .*\(120 empty\)\. Is"
    ):
        generated(dataset, tmp_path, nothing)
    lost = {name: ["another planet"] for name in nothing}
    with pytest.raises(DataError, match=rf"\(1 {NOT_FOUND}\)"):
        generated(dataset, tmp_path, lost, round_trip=Bm25(), dev_share=0.0)
    assert not list(tmp_path.glob("out*"))


def test_what_writes_nothing_is_not_asked_to_the_end(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("encloze.commands.generate._ENOUGH", 20)
    nothing = {str(d["title"]).split()[0]: [""] for d in toys.documents()}
    with pytest.raises(DataError, match="written for 8 documents"):
        generated(dataset, tmp_path, nothing)


# The verb


class Killed(BaseException):
    """The process is gone."""


def command(dataset: Path, output: Path, *more: Any) -> int:
    words = ["generate", "--corpus", dataset, "--output", output, "--generator.precision", "float32", *more]
    return main([*map(str, words), "--generator.batch_size", "8", "--generator.max_new_tokens", "6"])


def round_trip(model: Path) -> tuple[Any, ...]:
    """Flags of a round trip that a share of random queries passes."""
    return ("--round_trip", model, "--round_trip.precision", "float32", "--round_trip_depth", 20)


def made_of(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.suffix in (".jsonl", ".tsv")}


def test_generation_goes_on_where_it_was_killed(
    tmp_path: Path, dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--generator", toys.write_writer(tmp_path / "t5"), "--dev_share", "0.2", *round_trip(model))
    assert command(dataset, tmp_path / "whole", *more) == 0
    said = capsys.readouterr().out
    assert "queries for 40 documents are in" in said and '" asks for: ' in said and "were left out: its doc" in said
    assert "Next: encloze mine --dataset '{type: asked, corpus: FOLDER, questions: " in said
    whole, calls = Generating.write, []

    def until_the_third(self: Any, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise Killed
        return whole(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Generating, "write", until_the_third)
        with pytest.raises(Killed):
            command(dataset, tmp_path / "out", *more)
    with (tmp_path / "out.unfinished" / "written.jsonl").open("a") as stream:
        stream.write('[[17, ["half a ')  # what a kill may leave
    calls.clear()
    monkeypatch.setattr(Generating, "write", lambda self, *given: calls.append(given) or whole(self, *given))
    assert command(dataset, tmp_path / "out", *more, "--resume") == 0
    assert len(calls) == 3 and made_of(tmp_path / "out") == made_of(tmp_path / "whole")
    assert len(made_of(tmp_path / "out")) == 3 and not list(tmp_path.glob("*.unfinished"))


def test_a_kill_in_the_round_trip_costs_no_generation(
    tmp_path: Path, dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("--generator", toys.write_writer(tmp_path / "t5"), *round_trip(model))
    with monkeypatch.context() as patch:
        patch.setattr(Model, "rank", None)
        with pytest.raises(TypeError):
            command(dataset, tmp_path / "out", *more)
    monkeypatch.setattr(Generating, "write", None)
    assert command(dataset, tmp_path / "out", *more, "--resume") == 0


@pytest.mark.parametrize("changed", ["the texts", "the model", "a setting"])
def test_generation_does_not_go_on_with_something_else(
    changed: str, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = toys.write_writer(tmp_path / "t5")
    with monkeypatch.context() as patch:
        patch.setattr(Generating, "write", None)
        with pytest.raises(TypeError):
            command(dataset, tmp_path / "out", "--generator", writer)
    if changed == "the texts":
        file = dataset / "corpus.jsonl"
        file.write_text(file.read_text().replace("river was", "river is"))
    elif changed == "the model":
        config = json.loads((writer / "config.json").read_text())
        (writer / "config.json").write_text(json.dumps(config | {"dropout_rate": 0.3}))
    more = ("--per_document", "2") if changed == "a setting" else ()
    capsys.readouterr()
    assert command(dataset, tmp_path / "out", "--generator", writer, "--resume", *more) == 2
    says = {"the texts": "begun with another corpus", "the model": "begun with another generator.model",
            "a setting": "begun with other settings: per_document was 3 and is 2"}[changed]  # fmt: skip
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "generator: is required"),
        (("--generator", "t5", "--per_document", "0"), "per_document must be 1 or more, not 0"),
        (("--generator", "t5", "--most_documents", "0"), "most_documents must be 1 or more, not 0"),
        (("--generator", "t5", "--round_trip_depth", "0"), "round_trip_depth must be 1 or more, not 0"),
        (("--generator", "t5", "--dev_share", "1"), "dev_share must be 0 or more and below 1, not 1"),
        (("--generator", "t5", "--generator.prompt", "Ask."), "generator: prompt has no {text}"),
        (("--generator", "nobody/nothing"), "could not be fetched from the Hugging Face hub"),
        (("--generator", "endpoint", "--generator.model", "m"), "generator.url: is required"),
    ],
)
def test_what_cannot_be_is_refused(
    flags: tuple[str, ...], says: str, tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--corpus", str(dataset), "--output", str(tmp_path / "out"), *flags]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.glob("out*"))


def test_an_endpoints_key_is_kept_nowhere_and_its_answers_are(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from encloze.generators import endpoint

    monkeypatch.setenv("MY_KEY", "secret-7")
    budget = [20]

    def answer(self: Any, source: Source, at: int, connections: Any) -> str:
        budget[0] -= 1
        if budget[0] < 0:
            raise EndpointError("no more")
        return f"question {at} on {source.title}"

    monkeypatch.setattr(endpoint._Writer, "_answer", answer)
    tree = {"corpus": str(dataset), "output": str(tmp_path / "out"), "per_document": 2}
    tree["generator"] = {"type": "endpoint", "url": "http://localhost:1/v1", "model": "m", "key_variable": "MY_KEY"}
    with pytest.raises(EndpointError, match="no more"):
        recipe.build(Generate, tree).run()
    kept = (tmp_path / "out.unfinished" / "written.jsonl").read_text().splitlines()
    assert 6 <= len(kept) <= 10
    budget[0] = 80 - 2 * len(kept)
    made = recipe.build(Generate, {**tree, "resume": True}).run()
    assert sum(made.queries.values()) == 80 and budget == [0]
    assert not any(b"secret-7" in file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
