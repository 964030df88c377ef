"""Settings and their help, families and their members."""

from __future__ import annotations

import dataclasses
import os
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
class Schedule(Settings):
    """Settings that others inherit."""

    steps: int = 3
    """Number of steps."""
    rate: float = 0.5
    """Learning rate."""


@dataclass(frozen=True)
class Training(Schedule):
    """Settings with an inherited field documented again, one without help, and a derived one."""

    steps: int = 4
    """Number of steps,
    over all epochs."""
    silent: str = "no help"
    losses: tuple[str, ...] = ("mse",)
    """Losses."""
    path: Path | None = None
    """Output."""
    schedule: Schedule = field(default_factory=Schedule)
    """Schedule."""
    derived: int = field(default=0, init=False)


def test_help_is_the_string_below_a_field_and_is_inherited() -> None:
    help_texts = help_of(Training)
    assert help_texts["rate"] == "Learning rate."
    assert help_texts["steps"] == "Number of steps,\nover all epochs."
    assert "silent" not in help_texts
    assert list(help_texts) == ["steps", "rate", "losses", "path", "schedule"]


def test_hints_are_the_fields_that_can_be_set() -> None:
    assert list(hints_of(Training)) == ["steps", "rate", "silent", "losses", "path", "schedule"]
    assert hints_of(Training)["path"] == Path | None


def test_plain_values_are_those_of_yaml() -> None:
    assert plain(Training(path=Path("a") / "b", losses=("x", "y"))) == {
        "steps": 4,
        "rate": 0.5,
        "silent": "no help",
        "losses": ["x", "y"],
        "path": "a/b",
        "schedule": {"steps": 3, "rate": 0.5},
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


def test_defaults_are_created_for_each_object() -> None:
    fields = {each.name: each for each in dataclasses.fields(Training)}
    assert default_of(fields["schedule"]) == Schedule()
    assert default_of(fields["steps"]) == 4
    required = dataclasses.fields(Jsonl)[0]
    assert required.name == "path" and default_of(required) is dataclasses.MISSING


def test_members_are_the_files_of_the_folder_without_base() -> None:
    assert Analyzer.members() == ["hebrew", "plain", "stemmed", "unicode"]
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


def test_the_error_for_an_unknown_member_suggests_the_closest() -> None:
    with pytest.raises(ValueError, match=r"unknown fusion 'wieghted'; did you mean 'weighted'\? known: rec"):
        Fusion.member("wieghted")
    with pytest.raises(ValueError, match="unknown index 'zzz'; known: bm25, flat") as caught:
        Index.member("zzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", [None, 3, True, ["bm25"], {"type": "bm25"}])
def test_other_values_than_names_are_unknown_members(name: object) -> None:
    with pytest.raises(ValueError, match="unknown index"):
        Index.member(name)


def test_base_and_private_modules_are_not_members() -> None:
    for name in ("base", "__init__", "bm25.py", "../bm25", ""):
        with pytest.raises(ValueError, match="unknown index"):
            Index.member(name)


def test_settings_without_a_type_list_the_members() -> None:
    with pytest.raises(ValueError, match="is required: one of hebrew, plain, stemmed"):
        Analyzer.resolve_member(None, {})


def test_members_of_two_families_may_have_the_same_name() -> None:
    from encloze.systems.base import System

    assert System.member("bm25") is not Index.member("bm25")


def test_a_plugin_joins_a_family_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "shouting_plugin.py").write_text(
        "from dataclasses import dataclass\n"
        "from encloze.search.analyzers.base import Analyzer\n"
        "@dataclass(frozen=True)\n"
        "class Shouting(Analyzer, name='shouting'):\n"
        "    def tokens(self, text):\n"
        "        return text.upper().split()\n"
    )
    info = tmp_path / "shouting_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[encloze.search.analyzers]\nshouting = shouting_plugin:Shouting\n")
    code = (
        "from encloze.search.analyzers.base import Analyzer\n"
        "assert Analyzer.members() == ['hebrew', 'plain', 'shouting', 'stemmed', 'unicode']\n"
        "assert Analyzer.member('shouting')().tokens('say it') == ['SAY', 'IT']\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_classes_of_a_family_are_attributes_of_its_package() -> None:
    from encloze.search import fusions, indexes

    assert indexes.Bm25 is Bm25 and indexes.Index is Index and fusions.Weighted is Weighted
    with pytest.raises(AttributeError, match=r"module 'encloze.search.fusions' has no attribute 'Wieghted'"):
        _ = fusions.Wieghted


def test_only_the_base_of_a_family_is_a_family() -> None:
    assert is_family(Fusion) and is_family(Format)
    assert not is_family(Weighted) and not is_family(Settings) and not is_family("fusion") and not is_family(Family)


def test_a_name_is_suggested_only_if_one_is_close() -> None:
    assert nearest("sead", ["seed", "split"]) == "did you mean 'seed'? known: seed, split"
    assert nearest("quark", ["seed", "split"]) == "known: seed, split"


def test_every_family_has_a_one_line_summary() -> None:
    folders = family_folders()
    assert {
        "objectives",
        "losses",
        "formats",
        "indexes",
        "analyzers",
        "fusions",
        "systems",
        "commands",
        "heads",
    } <= set(folders)
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
    file.write_text('"""One line.\n\nMore."""\nraise RuntimeError("never imported")\n')
    assert summary_of(file) == "One line."
    file.write_text("x = 1\n")
    assert summary_of(file) == ""
