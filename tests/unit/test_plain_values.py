"""Values of settings: numbers that are not finite or out of range, texts that UTF-8 cannot encode, ranges of fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from encloze import recipe
from encloze.errors import RecipeError
from encloze.plain_values import shown
from encloze.settings import PositiveInt, Range, Ratio, Seed, Settings
from encloze.systems.base import System


@dataclass(frozen=True)
class Numbers(Settings):
    """Numbers with and without ranges."""

    count: PositiveInt = 1
    size: int = 0
    share: Ratio | None = None
    weights: tuple[Annotated[float, Range(gt=0, lt=1)], ...] = ()
    rate: float = 0.0
    name: str = ""
    path: Path | None = None
    seed: Seed = 0
    more: dict[str, Any] | None = None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", 0, "must be 1 or more, not 0"),
        ("count", "0", "must be 1 or more, not 0"),
        ("count", "-1", "must be 1 or more, not -1"),
        ("count", 2**31, "must be at most 2,147,483,647"),
        ("count", 2**64, "expected a number of at most 64 bits"),
        ("count", "9" * 5000, "expected a number of at most 64 bits"),
        ("size", -(2**31) - 1, "must be -2,147,483,647 or more"),
        ("share", 1.5, "must be 0 or more and at most 1, not 1.5"),
        ("share", "nan", "expected a number, found nan"),
        ("weights[1]", [0.5, 1.0], "must be above 0 and below 1, not 1.0"),
        ("weights[0]", ["-inf"], "expected a number, found -inf"),
        ("rate", float("nan"), "expected a number, found nan"),
        ("rate", "inf", "expected a number, found inf"),
        ("rate", "1e999", "expected a number, found inf"),
        ("rate", 1e31, "must be at most 1e"),
        ("name", "\ud800", "expected UTF-8 text"),
        ("path", "caf\udce9", "expected UTF-8 text"),
        ("path", Path("caf\udce9"), "it has an invalid character"),
        ("path", "x" * 256, "a name is longer than 255 bytes"),
        ("path", "a\0b", "it has an invalid character"),
        ("seed", -1, "must be 0 or more and at most 4294967295, not -1"),
        ("seed", 2**32, "must be 0 or more and at most 4294967295"),
        ("more", {"a": [float("nan")]}, "expected a number, found nan"),
        ("more", {"a": {"\ud800": 1}}, "expected UTF-8 text"),
    ],
)
def test_invalid_values_are_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.build(Numbers, {name.partition("[")[0]: value})
    ((path, text),) = caught.value.faults
    assert (path == name and text.startswith(message)) or message in text
    assert len(text) < 400


def test_an_integer_of_5000_digits_is_refused() -> None:
    with pytest.raises(RecipeError, match="expected a number of at most 64 bits"):
        recipe.build(Numbers, {"count": 10**5000})
    with pytest.raises(RecipeError, match="expected settings by name"):
        recipe.coerce(Numbers, 10**5000, source="f", name="a")


def test_valid_values_are_kept() -> None:
    built = recipe.build(Numbers, {"count": "3", "share": 1, "weights": "0.5,0.25", "seed": 2**32 - 1, "rate": -1e30})
    assert built == Numbers(3, share=1.0, weights=(0.5, 0.25), seed=2**32 - 1, rate=-1e30)


@pytest.mark.parametrize("settings", [{"count": 0}, {"share": float("nan")}, {"weights": (0.5, 2.0)}, {"seed": -1}])
def test_ranges_hold_in_python_too(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be "):
        Numbers(**settings)


def test_a_subclass_with_checks_of_its_own_keeps_the_ranges() -> None:
    @dataclass(frozen=True)
    class More(Numbers):
        def __post_init__(self) -> None:
            raise LookupError

    with pytest.raises(ValueError, match="count must be 1 or more"):
        More(count=0)
    with pytest.raises(LookupError):
        More()


def test_ranges_are_in_the_json_schema() -> None:
    assert recipe.json_schema(Numbers)["properties"]["count"]["minimum"] == 1


@pytest.mark.parametrize(
    ("flags", "path"),
    [
        ([("systems", "bm25"), ("systems.5.k1", "2")], "systems[5]"),
        ([("systems", "bm25"), ("systems.1.k1", "2")], "systems[1].type"),
        ([("systems.0", "bm25"), ("systems.0.k1", "nan")], "systems[0].k1"),
    ],
)
def test_an_item_of_a_list_is_named_by_its_number(flags: list[tuple[str, str | None]], path: str) -> None:
    @dataclass(frozen=True)
    class Some(Settings):
        systems: tuple[System, ...] = ()

    with pytest.raises(RecipeError) as caught:
        recipe.build(Some, recipe.apply_flags({}, flags))
    assert caught.value.faults[0][0].startswith(path.removesuffix(".type"))


def test_a_value_is_shown_whatever_it_is() -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    assert shown(10**5000) == "a value of type int" and len(shown("x" * 999)) == 200
    assert shown(cyclic) == "[[...]]" and shown("\x1b\ud800") == r"'\x1b\ud800'"
