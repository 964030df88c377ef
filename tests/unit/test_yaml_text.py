"""YAML text: values, and the bounds of size, depth and aliases."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from encloze.yaml_text import YamlTextError, parse_yaml

BILLION = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
INVALID = {
    "an integer that is none": ("a: !!int abc", "line 1, column 4", "'abc' cannot be read as int"),
    "hexadecimal digits missing": ("a: 0x_", "line 1, column 4", "'0x_' cannot be read as int"),
    "a boolean that is none": ("a: !!bool foo", "line 1, column 4", "'foo' cannot be read as bool"),
    "a number that is none": ("a: !!float ''", "line 1, column 4", "'' cannot be read as float"),
    "an integer of 5,000 digits": (f"a: {'9' * 5000}", "line 1, column 4", "cannot be read as int"),
    "900 brackets": ("[" * 900, "line 1, column 101", "nested deeper than 100 levels"),
    "900 mappings": ("{a: " * 900, "", "nested deeper than 100 levels"),
    "an alias of itself": ("&a [*a]", "line 1, column 1", "an alias refers to itself"),
    "a merge of itself": ("&a {<<: *a}", "line 1, column 1", "an alias refers to itself"),
    "aliases that expand to 10^10 values": (BILLION, "", "more than 100,000 values after its aliases are expanded"),
    "200,000 values": (f"[{'a,' * 200_000}]", "", "more than 100,000 values"),
    "an unpaired surrogate": (r'a: "\ud800"', "line 1, column 4", "unpaired surrogate"),
    "a tag of Python": ("a: !!python/object:os.system {}", "line 1, column 4", "could not determine a constructor"),
    "a control character": ("a: \x07", "", "special characters are not allowed"),
    "a key that is a list": ("{[a]: 1}", "line 1, column 2", "unhashable key"),
    "two megabytes": ("a: " + "x" * 2**21, "", "more than 1,048,576"),
    "an open bracket": ("a: [1", "line 1, column 6", "expected ',' or ']'"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_text_is_one_kind_of_error(case: str) -> None:
    text, where, message = INVALID[case]
    started = time.process_time()
    with pytest.raises(YamlTextError, match=message) as caught:
        parse_yaml(text)
    assert not where or caught.value.where == where
    assert time.process_time() - started < 5


@pytest.mark.parametrize("text", ["2024-01-31", "2024-13-45", "2001-12-14t21:59:43.10-05:00"])
def test_dates_are_texts(text: str) -> None:
    assert parse_yaml(f"a: {text}") == {"a": text}


def test_aliases_within_the_bound_are_expanded() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: 3}}") == {"a": [1, 2], "b": [1, 2], "c": {"d": 3}}
    assert parse_yaml("") is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists, max_leaves=9))
def test_what_yaml_writes_is_read_back(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value)) == value  # with allow_unicode, PyYAML folds rare line separators
