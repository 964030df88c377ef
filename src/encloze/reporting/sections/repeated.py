"""How to make each result again: the command, versions, hashes of what it was made from, the whole recipe."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encloze.reporting.blocks import Block, Code, Prose, Section, Table
from encloze.reporting.made import Made


def repeated(made: Sequence[Made]) -> Section:
    """The section on all folders."""
    blocks: list[Block] = [
        Prose(
            "Every folder keeps the recipe it was made with. What changed since in data or packages, the command says."
        ),
        Code("Commands", "\n".join(f"encloze again {shlex.quote(str(one.folder))}" for one in made)),
        _versions(made),
    ]
    for one in made:
        if one.inputs:
            blocks.append(_inputs(one))
        blocks.append(Code(f"{one.name}/recipe.yaml", one.recipe))
    return Section("How to repeat it", blocks)


def _versions(made: Sequence[Made]) -> Table:
    names = dict.fromkeys(name for one in made for name in one.versions)
    rows = [["package", "version"]]
    for name in names:
        found = dict.fromkeys(one.versions[name] for one in made if name in one.versions)
        rows.append([name, ", ".join(found)])
    return Table("Versions", rows)


def _place(what: dict[str, Any], working_folder: Path) -> str:
    """A path as it was given where it is below the folder that people worked in, or a name."""
    if "path" not in what:
        return str(what.get("name"))
    place = Path(what["path"])
    return place.relative_to(working_folder).as_posix() if place.is_relative_to(working_folder) else str(place)


def _inputs(made: Made) -> Table:
    rows = [["setting", "what", "SHA-256"]]
    for name, what in made.inputs.items():
        rows.append([name, _place(what, made.working_folder), str(what.get("sha256", ""))[:16]])
    return Table(f"{made.name}: made from", rows)
