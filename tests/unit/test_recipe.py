"""Recipes: YAML files and flags become settings, all errors at once, and are written back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from encloze import recipe
from encloze.cli.main import split_arguments
from encloze.commands.base import Command, get_command
from encloze.commands.evaluate import Evaluate
from encloze.commands.finetune import Finetune
from encloze.commands.index import Index
from encloze.commands.inspect import Inspect
from encloze.commands.pretrain import Pretrain
from encloze.commands.search import Search
from encloze.data.formats.beir import Beir
from encloze.errors import RecipeError
from encloze.objectives.cropping import Cropping
from encloze.search.analyzers.plain import Plain
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.analyzers.unicode import Unicode
from encloze.search.fusions.reciprocal_rank import ReciprocalRank
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.systems.bm25 import Bm25 as Bm25System
from encloze.systems.model import Model
from encloze.text.contexts.crops import Crops

# A value for each required setting of any command; new commands with the same names of settings are tested too.
REQUIRED = {
    "model": "minilm",
    "original": "minilm",
    "teacher": "minilm",
    "objective": "retromae",
    "output": "out",
    "index": "index",
    "folder": "folder",
    "folders": "folder",
    "negatives": "run.trec",
    "candidates": "run.trec",
    "scores": "scores",
    "generator": {"type": "local", "model": "t5"},
    "systems": "bm25,minilm",
    "result": "report",
    "baseline": "other_report",
}
EXTRA: dict[str, dict[str, Any]] = {
    "evaluate": {"systems": "bm25,minilm"},
    "compare": {"systems": "bm25,minilm"},
    "robustness": {"systems": "bm25,minilm"},
    "index": {"indexes": "flat,bm25", "model": "minilm"},
    "serve": {"index": "index"},
    "delete": {"ids": "a,b"},
    "plan": {"documents": [1000]},
    "reindex": {"model": "minilm"},
    "encode": {"dataset": {"type": "tsv", "path": "labels"}},
    "probe": {"dataset": {"type": "tsv", "path": "labels"}},
    "finetune_classifier": {"dataset": {"type": "tsv", "path": "labels"}},
    "run": {"stages": {"lexical": {"verb": "mine", "dataset": "@dataset"}}},
}


def tree(flags: str, under: dict[str, Any] | None = None, kind: type = Evaluate) -> dict[str, Any]:
    """Return the tree of a command line."""
    return recipe.apply_flags(under or {}, split_arguments(kind, flags.split())[1])


def built(kind: type, flags: str, under: dict[str, Any] | None = None) -> Any:
    return recipe.build(kind, tree(flags, under, kind))


def faults(kind: type, values: dict[str, Any]) -> dict[str, str]:
    """Return the errors of a tree by path."""
    with pytest.raises(RecipeError) as caught:
        recipe.build(kind, values)
    assert len(dict(caught.value.faults)) == len(caught.value.faults)
    return dict(caught.value.faults)


@pytest.fixture
def smallest(dataset: Path) -> Any:
    """Return a function that gives the required settings of a command."""

    def of(name: str) -> dict[str, Any]:
        import dataclasses

        from encloze.settings import default_of

        values: dict[str, Any] = dict(EXTRA.get(name, {}))
        if name in ("index", "evaluate", "compare", "robustness"):
            values["corpus" if name == "index" else "dataset"] = str(dataset)
        for field in dataclasses.fields(get_command(name)):
            if default_of(field) is dataclasses.MISSING and field.name not in values:
                values[field.name] = str(dataset) if field.name in ("corpus", "dataset") else REQUIRED[field.name]
        return values

    return of


# Flags


def test_a_flag_sets_a_setting_at_any_depth() -> None:
    under = {"depth": 5, "training": {"steps": 3}}
    assert tree("--depth 7 --training.learning_rate 1e-3", under) == {
        "depth": "7",
        "training": {"steps": 3, "learning_rate": "1e-3"},
    }
    assert under == {"depth": 5, "training": {"steps": 3}}


def test_a_value_may_follow_an_equals_sign_and_hold_another() -> None:
    assert tree("--a.b=V") == {"a": {"b": "V"}}
    assert tree("--path=x=y --empty=") == {"path": "x=y", "empty": ""}
    assert tree("--k=-3 --j -3") == {"k": "-3", "j": "-3"}


def test_hyphens_and_underscores_in_a_name_are_equal() -> None:
    assert tree("--training.learning-rate 1") == tree("--training.learning_rate 1")


def test_a_switch_needs_no_value_and_takes_one() -> None:
    assert tree("--overwrite --depth 3") == {"overwrite": True, "depth": "3"}
    assert split_arguments(Evaluate, ["--overwrite", "recipe.yaml"]) == (["recipe.yaml"], [("overwrite", None)])
    for text, value in {"true": True, "false": False, "yes": True, "no": False, "off": False, "0": False}.items():
        assert built(Search, f"--index i --precision float32 --k {5}").k == 5
        assert built(Finetune, f"--dataset python_docs --model minilm --output o --resume {text}").resume is value


def test_lists_mappings_quotes_and_null_are_read_as_yaml_and_nothing_else_is() -> None:
    read = recipe.apply_flags({}, [("a", "[1, x]"), ("b", "{k: 2}"), ("c", "'7'"), ("d", "null"), ("e", "~")])
    assert read == {"a": [1, "x"], "b": {"k": 2}, "c": "7", "d": None, "e": None}
    read = recipe.apply_flags({}, [("a", "yes"), ("b", "1e3"), ("c", "x: y"), ("d", "# no comment"), ("e", "Null")])
    assert read == {"a": "yes", "b": "1e3", "c": "x: y", "d": "# no comment", "e": "Null"}


def test_an_invalid_list_on_the_command_line_is_one_error() -> None:
    with pytest.raises(RecipeError, match=r"(?s)the command line has 1 error.*systems: invalid YAML: .*'\[bm25'"):
        recipe.apply_flags({}, [("systems", "[bm25")])


@pytest.mark.parametrize(
    "flags",
    list(itertools.permutations([("fusion", "weighted"), ("fusion.normalization", "none"), ("fusion.weights", "1,2")])),
)
def test_a_member_and_its_settings_may_come_in_any_order(flags: list[tuple[str, str]]) -> None:
    command = recipe.build(Search, recipe.apply_flags({"index": "i"}, list(flags)))
    assert command.fusion == Weighted((1.0, 2.0), "none")


def test_naming_the_same_member_keeps_its_settings_and_another_drops_them() -> None:
    under = {"index": "i", "fusion": {"type": "weighted", "normalization": "none"}}
    assert built(Search, "--fusion weighted", under).fusion == Weighted(normalization="none")
    assert built(Search, "--fusion reciprocal_rank", under).fusion == ReciprocalRank()
    assert built(Search, "--fusion.weights [2,3]", under).fusion == Weighted((2.0, 3.0), "none")


def test_flags_set_settings_of_a_member_named_in_the_file() -> None:
    under = {"index": "i", "fusion": "reciprocal_rank"}
    assert built(Search, "--fusion.k 10", under).fusion == ReciprocalRank(10.0)


def test_settings_without_a_type_belong_to_the_default_member() -> None:
    under = {"corpus": "python_docs", "model": "minilm", "output": "o", "objective": "cropping"}
    assert built(Pretrain, "--objective.context.max_ratio 0.7", under).objective == Cropping(Crops(0.1, 0.7))
    given = {"objective": {"type": "cropping", "context": {"max_ratio": 0.7}}}
    assert built(Pretrain, "", under | given).objective == Cropping(Crops(0.1, 0.7))


def test_the_last_of_two_equal_flags_is_used() -> None:
    assert built(Search, "--index i --k 3 --k 4").k == 4


# Lists


@pytest.mark.parametrize(
    "flags",
    [
        "--systems bm25,minilm",
        "--systems [bm25,minilm]",
        "--systems bm25,\u00a0minilm",
        "--systems bm25,{type:\u00a0model,\u00a0model:\u00a0minilm}",
        "--systems [{type:\u00a0bm25},minilm]",
        "--systems.0 bm25 --systems.1 minilm",
        "--systems.1 minilm --systems.0.type bm25",
        "--systems.1=minilm --systems.0={type:\u00a0bm25}",
    ],
)
def test_a_list_is_given_by_commas_by_yaml_or_by_number(dataset: Path, flags: str) -> None:
    words = [word.replace("\u00a0", " ") for word in flags.split(" ")]
    command = recipe.build(Evaluate, recipe.apply_flags({"dataset": str(dataset)}, split_arguments(Evaluate, words)[1]))
    assert command.systems == (Bm25System(), Model("minilm"))


def test_one_item_is_a_list_of_one(dataset: Path) -> None:
    assert built(Evaluate, f"--dataset {dataset} --systems bm25").systems == (Bm25System(),)
    one = recipe.build(Evaluate, {"dataset": str(dataset), "systems": {"type": "bm25", "k1": 2}})
    assert one.systems == (Bm25System(k1=2.0),)


def test_items_of_a_list_take_settings_by_their_number(dataset: Path) -> None:
    expected = (Bm25System(k1=2.0), Model("minilm"))
    assert built(Evaluate, f"--dataset {dataset} --systems bm25,minilm --systems.0.k1 2").systems == expected
    under = {"dataset": str(dataset), "systems": ["bm25", "minilm"]}
    assert built(Evaluate, "--systems.0.k1 2", under).systems == expected
    assert built(Evaluate, "--systems.0.analyzer.type stemmed", under).systems[0] == Bm25System(analyzer=Stemmed())


def test_a_list_on_the_command_line_replaces_the_list_in_the_file(dataset: Path) -> None:
    under = {"dataset": str(dataset), "systems": ["minilm", "bm25"], "measures": ["AP"]}
    command = built(Evaluate, "--systems bm25 --measures mrr@10,AP", under)
    assert command.systems == (Bm25System(),) and command.measures == ("mrr@10", "AP")


def test_a_list_of_numbers_is_validated_one_by_one() -> None:
    assert built(Search, "--index i --fusion weighted --fusion.weights 1,2.5").fusion.weights == (1.0, 2.5)
    errors = faults(Search, {"index": "i", "fusion": {"type": "weighted", "weights": "1,two,three"}})
    assert set(errors) == {"fusion.weights[1]", "fusion.weights[2]"}


def test_a_wrong_name_among_the_items_of_a_list_is_reported_there(dataset: Path) -> None:
    errors = faults(Index, tree(f"--corpus {dataset} --indexes bm25,flatt --output o --model m", kind=Index))
    assert list(errors) == ["indexes[1]"] and "did you mean 'flat'?" in errors["indexes[1]"]
    errors = faults(Evaluate, tree(f"--dataset {dataset} --systems bm25 --systems.first.k1 2"))
    assert list(errors) == ["systems[0].first"]


# Optional and nested settings


def test_an_optional_setting_is_set_and_unset() -> None:
    under = {"dataset": "python_docs", "model": "minilm", "output": "o", "max_query_tokens": 7, "query_prompt": "q"}
    assert built(Finetune, "--max_query_tokens 32", under).max_query_tokens == 32
    command = built(Finetune, "--max_query_tokens null --query_prompt ~", under)
    assert command.max_query_tokens is None and command.query_prompt is None


def test_an_optional_member_is_set_and_unset(dataset: Path) -> None:
    command = built(Index, f"--corpus {dataset} --output o --indexes bm25")
    assert command.corpus == Beir(dataset) and command.dataset is None
    under = {"corpus": "python_docs", "output": "o", "indexes": "bm25"}
    command = built(Index, f"--corpus null --dataset {dataset}", under)
    assert command.corpus is None and command.dataset == Beir(dataset)


def test_null_for_a_required_setting_is_an_error() -> None:
    assert set(faults(Search, tree("--index null --k null", kind=Search))) == {"index", "k"}


def test_a_command_keeps_its_defaults_for_settings_that_are_not_given() -> None:
    flags = "--dataset python_docs --model minilm --output o"
    assert built(Finetune, flags).training.learning_rate == 2e-5
    command = built(Finetune, f"{flags} --training.steps 5").training
    assert command.learning_rate == 2e-5 and command.steps == 5
    assert built(Finetune, flags, {"training": {"learning_rate": 1e-3}}).training.learning_rate == 1e-3


def test_a_path_in_place_of_a_format_is_recognized(tmp_path: Path, dataset: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"body": "x"}\n')
    assert built(Inspect, f"--corpus {dataset}").corpus == Beir(dataset)
    for flags in (
        f"--corpus {file} --corpus.text_field body",
        f"--corpus.text_field body --corpus.path {file}",
        f"--corpus.text_field body --corpus.path {file} --corpus.type jsonl",
    ):
        command = built(Inspect, flags)
        assert command.corpus.name == "jsonl" and command.corpus.path == file and command.corpus.text_field == "body"


def test_numbers_are_accepted_where_text_is_expected() -> None:
    assert recipe.build(Search, {"index": "i", "query": 7}).query == "7"


# Errors


@pytest.mark.parametrize(
    ("unknown", "hint"),
    [
        ("batch_size", "did you mean 'batch_tokens' (Maximum number of tokens in a batch, including padding)?"),
        ("loging_steps", "did you mean 'training.logging_steps' (Number of steps between two lines of log.jsonl)?"),
        ("learning_rate", "did you mean 'training.learning_rate' (Peak learning rate of AdamW)?"),
        ("zzz", "unknown setting; known: corpus, model"),
    ],
)
def test_an_unknown_setting_is_explained_by_a_similar_one(unknown: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.build(Pretrain, {unknown: 64}, source="here")
    assert hint in dict(caught.value.faults)[unknown]


def test_errors_of_file_and_command_line_are_reported_together(tmp_path: Path, dataset: Path) -> None:
    file = tmp_path / "eval.yaml"
    file.write_text(f"dataset: {dataset}\nsystems: [bm25, {{type: bm25, k11: 2}}]\nsead: 3\n")
    flags = [("splitt", "dev"), ("depth", "ten"), ("systems.0.analyzer", "stemed")]
    with pytest.raises(RecipeError) as caught:
        recipe.build(Evaluate, recipe.apply_flags(recipe.read(file), flags), source="here")
    errors = dict(caught.value.faults)
    assert set(errors) == {"sead", "splitt", "depth", "systems[1].k11", "systems[0].analyzer"}
    assert errors["sead"].startswith("unknown setting; did you mean 'seed' (Seed of the bootstrap intervals")
    assert "? known: dataset, split" in errors["sead"]
    assert "did you mean 'split' (" in errors["splitt"]
    assert "did you mean 'k1' (" in errors["systems[1].k11"]
    assert "unknown analyzer 'stemed'; did you mean 'stemmed'?" in errors["systems[0].analyzer"]
    assert "'ten'" in errors["depth"]
    assert str(caught.value).startswith("here has 5 errors:\n  ")
    assert all(f"  {path}: " in str(caught.value) for path in errors)


def test_every_missing_setting_is_named() -> None:
    assert faults(Finetune, {}) == dict.fromkeys(("dataset", "model", "output"), "is required")
    assert faults(Search, {"index": "i", "fusion": {"type": None}})["fusion"].startswith("is required: one of")


def test_an_error_of_the_settings_has_their_path(dataset: Path) -> None:
    errors = faults(Index, {"corpus": str(dataset), "output": "o", "indexes": [{"type": "bm25", "b": 3}]})
    assert errors == {"indexes[0]": "k1 must be 0 or more and b from 0 to 1, not 1.2 and 3.0"}
    assert faults(Search, {"index": "i", "k": 0}) == {"": "k must be 1 or more, not 0"}


def test_an_unknown_choice_lists_all_choices() -> None:
    errors = faults(Search, {"index": "i", "precision": "float16"})["precision"]
    assert "'auto', 'float32' or 'bfloat16'" in errors and "'float16'" in errors


@pytest.mark.parametrize("wrong", [3, True, ["bm25"], 2.5])
def test_other_values_than_names_and_settings_are_refused(wrong: object) -> None:
    assert "expected a name (reciprocal_rank, weighted)" in faults(Search, {"index": "i", "fusion": wrong})["fusion"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", "invalid YAML"),
        ("- a\n- b\n", "contains a list, but expected settings by name"),
        ("just words\n", "contains a str"),
        ("systems: &systems [bm25, *systems]\n", "an alias refers to itself"),
        ("a: !!python/object/apply:os.system ['true']\n", "invalid YAML"),
    ],
)
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        recipe.read(file)
    assert str(file) in str(caught.value)


def test_invalid_yaml_is_reported_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("seed: 1\nsystems: [bm25\nsplit: dev\n")
    with pytest.raises(RecipeError, match=r"line 3, column \d+: invalid YAML"):
        recipe.read(file)


def test_the_error_for_an_unreadable_file_names_the_cause(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot be read: No such file or directory. Give a YAML file"):
        recipe.read(tmp_path / "none.yaml")
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"query: caf\xe9\n")
    with pytest.raises(RecipeError, match="it is not UTF-8 text"):
        recipe.read(file)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    assert recipe.read(file) == {}


# Round trip


@pytest.mark.parametrize("name", Command.members())
def test_a_written_recipe_builds_the_same_command(name: str, smallest: Any) -> None:
    command = recipe.build(get_command(name), smallest(name))
    text = recipe.dump(command, {"verb": name})
    read = yaml.safe_load(text)
    assert read.pop("verb") == name and "type" not in read
    assert recipe.build(get_command(name), read) == command
    assert recipe.dump(recipe.build(get_command(name), read), {"verb": name}) == text


words = st.text(max_size=20)
some = st.floats(min_value=1e-8, max_value=1e6, allow_nan=False)
weighted = st.builds(Weighted, st.lists(some, max_size=3).map(tuple), st.sampled_from(["min_max", "none"]))
fusions = weighted | st.builds(ReciprocalRank, some)
paths = st.from_regex(r"[a-z0-9 ~'#:é]{1,8}", fullmatch=True).map(Path)
analyzers = st.just(Plain()) | st.just(Unicode()) | st.builds(Stemmed, st.sampled_from(["english", "german", "hindi"]))
indexes = st.just(Flat()) | st.builds(Bm25, some, st.floats(0, 1), analyzers)
searches = st.builds(
    Search,
    index=paths,
    query=st.none() | words,
    k=st.integers(1, 10**9),
    fusion=fusions,
    model=st.none() | words,
    precision=st.sampled_from(["auto", "float32", "bfloat16"]),
)
indexings = st.builds(
    Index,
    output=paths,
    corpus=st.just(Beir(Path("nowhere"))),
    dataset=st.none(),
    model=words,
    indexes=st.lists(indexes, min_size=1, max_size=3).map(tuple),
    overwrite=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)


@given(st.one_of(searches, indexings))
@settings(max_examples=60, deadline=None)
def test_any_values_survive_yaml(command: Any) -> None:
    assert recipe.build(type(command), yaml.safe_load(recipe.dump(command))) == command


@given(words)
@settings(max_examples=60, deadline=None)
def test_text_on_the_command_line_is_unchanged_unless_it_starts_like_yaml(text: str) -> None:
    if text[:1] in tuple("[{\"'") or text in ("null", "~"):
        return
    assert recipe.build(Search, recipe.apply_flags({}, [("index", "i"), ("query", text)])).query == text


# JSON Schema


def nodes(schema: Any) -> Any:
    """Yield every mapping inside a schema."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from nodes(value)


@pytest.mark.parametrize("name", Command.members())
def test_the_schema_describes_every_setting_and_resolves_references(name: str) -> None:
    schema = json.loads(json.dumps(recipe.json_schema(get_command(name))))
    assert schema["$schema"].endswith("2020-12/schema") and schema["type"] == "object"
    assert schema["properties"].pop("verb") == {"const": name}
    for setting, shape in schema["properties"].items():
        shape = schema["$defs"][shape["$ref"].removeprefix("#/$defs/")] | shape if "$ref" in shape else shape
        assert shape.get("description"), f"{setting} has no description"
    for node in nodes(schema):
        if isinstance(reference := node.get("$ref"), str):
            assert reference.removeprefix("#/$defs/") in schema.get("$defs", {})
        assert "$defs" not in node or node is schema
        if isinstance(node.get("properties"), dict):
            for setting, shape in node["properties"].items():
                assert shape.get("description") or "const" in shape or "$ref" in shape, setting


def test_the_schema_lists_the_members_of_a_family_and_their_settings() -> None:
    schema = recipe.json_schema(Search)
    names, *members, none = schema["properties"]["fusion"]["anyOf"]
    assert none == {"type": "null"}
    assert names == {"type": "string", "enum": ["reciprocal_rank", "weighted"]}
    assert [member["properties"]["type"]["const"] for member in members] == ["reciprocal_rank", "weighted"]
    assert "The paper uses 60" in members[0]["properties"]["k"]["description"]
    assert schema["required"] == ["index"]


def test_the_schema_accepts_a_path_where_a_recipe_does() -> None:
    assert {"type": "string"} in recipe.json_schema(Inspect)["properties"]["corpus"]["anyOf"]
    assert {"type": "string"} not in recipe.json_schema(Search)["properties"]["fusion"]["anyOf"]
