"""Report section on reproducing results: commands, package versions, hashes of inputs, and recipes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encloze.reporting.blocks import Block, Code, Paragraph, Section
from encloze.reporting.result_folders import ResultFolder
from encloze.tables import Column, Table


def reproduction_section(results: Sequence[ResultFolder]) -> Section:
    """Return the report section with the commands, versions and inputs that reproduce the results in all folders."""
    commands = "\n".join(f"encloze rerun {shlex.quote(str(result.path))}" for result in results)
    blocks: list[Block] = [
        Paragraph("Each folder contains the recipe it was made with. rerun warns of data and packages that changed."),
        Code("Commands", commands),
        _version_table(results),
    ]
    for result in results:
        if result.inputs:
            blocks.append(_input_table(result))
        blocks.append(Code(f"{result.name}/recipe.yaml", result.recipe))
    return Section("Reproduction", blocks)


def _version_table(results: Sequence[ResultFolder]) -> Table:
    names = dict.fromkeys(name for result in results for name in result.versions)
    rows = []
    for name in names:
        versions = dict.fromkeys(result.versions[name] for result in results if name in result.versions)
        rows.append((name, ", ".join(versions)))
    return Table("Versions", (Column("package"), Column("version")), tuple(rows))


def _input_table(result: ResultFolder) -> Table:
    rows = tuple(
        (setting, _input_name(entry, result.working_folder), str(entry.get("sha256", ""))[:16])
        for setting, entry in result.inputs.items()
    )
    return Table(f"{result.name}: inputs", (Column("setting"), Column("input"), Column("SHA-256")), rows)


def _input_name(entry: dict[str, Any], working_folder: Path) -> str:
    """Return the path of an input (relative if inside the working folder), or its name if the input has no path."""
    if "path" not in entry:
        return str(entry.get("name"))
    path = Path(entry["path"])
    return path.relative_to(working_folder).as_posix() if path.is_relative_to(working_folder) else str(path)
