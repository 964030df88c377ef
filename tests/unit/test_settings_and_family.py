"""Settings know their help and their plain values; families know their members, and who was meant."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from encloze.data.formats.base import Format
from encloze.data.formats.jsonl import Jsonl
from encloze.family import Family, family_folders, is_family, nearest, summary_of
from encloze.search.analyzers.base import Analyzer
from encloze.search.analyzers.plain import Plain
from encloze.search.analyzers.stemmed import Stemmed
from encloze.search.fusions.base import Fusion
from encloze.search.fusions.weighted import Weighted
from encloze.search.indexes.base import Index
from encloze.search.indexes.bm25 import Bm25
from encloze.settings import Settings, default_of, help_of, hints_of, plain


@dataclass(frozen=True)
class Ground(Settings):
    """Settings to inherit from."""

    depth: int = 3
    """How deep."""
    width: float = 0.5
    """How wide."""


@dataclass(frozen=True)
class House(Ground):
    """Settings with one field of the parent explained anew, one silent, one derived."""

    depth: int = 4
    """How deep the cellar is,
    in metres."""
    silent: str = "no help"
    rooms: tuple[str, ...] = ("kitchen",)
    """Which rooms."""
    path: Path | None = None
    """Where."""
    ground: Ground = field(default_factory=Ground)
    """On what."""
    derived: int = field(default=0, init=False)


def test_help_is_the_string_under_a_field_and_is_inherited_and_overridden() -> None:
    found = help_of(House)
    assert found["width"] == "How wide."
    assert found["depth"] == "How deep the cellar is,\nin metres."
    assert "silent" not in found
    assert list(found) == ["depth", "width", "rooms", "path", "ground"]


def test_hints_are_the_fields_that_can_be_given() -> None:
    assert list(hints_of(House)) == ["depth", "width", "silent", "rooms", "path", "ground"]
    assert hints_of(House)["path"] == Path | None


def test_plain_values_hold_paths_tuples_and_nested_settings_as_yaml_would() -> None:
    assert plain(House(path=Path("a") / "b", rooms=("x", "y"))) == {
        "depth": 4,
        "width": 0.5,
        "silent": "no help",
        "rooms": ["x", "y"],
        "path": "a/b",
        "ground": {"depth": 3, "width": 0.5},
    }
    assert plain({"a": (Path("x"), None)}) == {"a": ["x", None]}


def test_a_member_of_a_family_becomes_its_type_and_its_settings() -> None:
    assert plain(Bm25(k1=2.0, analyzer=Stemmed("german"))) == {
        "type": "bm25",
        "k1": 2.0,
        "b": 0.75,
        "analyzer": {"type": "stemmed", "language": "german"},
    }
    assert plain(Plain()) == {"type": "plain"}


def test_a_default_is_made_anew_or_missing() -> None:
    fields = {each.name: each for each in dataclasses.fields(House)}
    assert default_of(fields["ground"]) == Ground()
    assert default_of(fields["depth"]) == 4
    required = dataclasses.fields(Jsonl)[0]
    assert required.name == "path" and default_of(required) is dataclasses.MISSING


def test_members_are_the_files_of_the_folder_without_base() -> None:
    assert Analyzer.members() == ["plain", "stemmed", "unicode"]
    assert Fusion.members() == ["reciprocal_rank", "weighted"]
    assert "base" not in Format.members() and {"beir", "python_docs", "tsv"} <= set(Format.members())


def test_listing_members_imports_none_of_them() -> None:
    code = (
        "import sys; from encloze.search.fusions.base import Fusion; Fusion.members(); "
        "sys.exit('encloze.search.fusions.weighted' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_member_is_found_by_its_name() -> None:
    assert Fusion.member("weighted") is Weighted
    assert Index.member("bm25") is Bm25


def test_a_misspelt_member_is_answered_with_the_nearest_and_all_others() -> None:
    with pytest.raises(ValueError, match=r"no fusion is called 'wieghted'; did you mean 'weighted'\? known: rec"):
        Fusion.member("wieghted")
    with pytest.raises(ValueError, match="no index is called 'zzz'; known: bm25, flat") as caught:
        Index.member("zzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", [None, 3, True, ["bm25"], {"type": "bm25"}])
def test_what_is_no_name_is_no_member_either(name: object) -> None:
    with pytest.raises(ValueError, match="no index is called"):
        Index.member(name)


def test_base_and_private_files_are_no_members() -> None:
    for name in ("base", "__init__", "bm25.py", "../bm25", ""):
        with pytest.raises(ValueError, match="no index is called"):
            Index.member(name)


def test_a_choice_without_a_type_says_what_there_is() -> None:
    with pytest.raises(ValueError, match="is required: one of plain, stemmed"):
        Analyzer.chosen(None, {})


def test_members_of_two_families_may_bear_one_name() -> None:
    from encloze.systems.base import System

    assert System.member("bm25") is not Index.member("bm25")


def test_a_plugin_joins_a_family_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shouting_plugin.py").write_text(
        "from dataclasses import dataclass\n"
        "from encloze.search.analyzers.base import Analyzer\n"
        "@dataclass(frozen=True)\n"
        "class Shouting(Analyzer, name='shouting'):\n"
        "    def words(self, text):\n"
        "        return text.upper().split()\n"
    )
    info = tmp_path / "shouting_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[encloze.search.analyzers]\nshouting = shouting_plugin:Shouting\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert Analyzer.members() == ["plain", "shouting", "stemmed", "unicode"]
        assert Analyzer.member("shouting")().words("say it") == ["SAY", "IT"]
    finally:
        Analyzer._known.pop("shouting", None)
        sys.modules.pop("shouting_plugin", None)


def test_only_the_base_of_a_family_is_a_family() -> None:
    assert is_family(Fusion) and is_family(Format)
    assert not is_family(Weighted) and not is_family(Settings) and not is_family("fusion") and not is_family(Family)


def test_the_nearest_name_is_named_only_where_one_is_near() -> None:
    assert nearest("sead", ["seed", "split"]) == "did you mean 'seed'? known: seed, split"
    assert nearest("quark", ["seed", "split"]) == "known: seed, split"


def test_every_folder_with_a_base_is_a_family_and_opens_with_a_sentence() -> None:
    folders = family_folders()
    assert {"objectives", "losses", "formats", "indexes", "analyzers", "fusions", "systems", "tasks", "heads"} <= set(
        folders
    )
    for name, folder in folders.items():
        assert folder.name == name and summary_of(folder / "base.py").endswith(".")


def test_families_are_found_without_importing_them() -> None:
    code = (
        "import sys; from encloze.family import family_folders; family_folders(); "
        "sys.exit(any(m.startswith(('encloze.objectives', 'encloze.search', 'pydantic')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_summary_is_the_first_line_and_may_be_missing(tmp_path: Path) -> None:
    file = tmp_path / "part.py"
    file.write_text('"""What it is.\n\nAnd more."""\nraise RuntimeError("never imported")\n')
    assert summary_of(file) == "What it is."
    file.write_text("x = 1\n")
    assert summary_of(file) == ""
