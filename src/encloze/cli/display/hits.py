"""Display of search hits."""

from __future__ import annotations

import json
import textwrap

from rich.text import Text

from encloze.cli.display.console import OUT, excerpt, say, show
from encloze.commands.search import InteractiveSearch
from encloze.escapes import visible
from encloze.retrieval.results import Hits


@show.register
def _(result: Hits) -> None:
    if not result:
        say("No document matches the query.")
    for rank, hit in enumerate(result, 1):
        parts = ", ".join(f"{name} {score:.3f}" for name, score in hit.parts.items())
        line = Text(f"{rank:>2}. ")
        line.append(visible(hit.title or hit.id), style="bold")
        line.append(f"  {hit.score:.4f}{f' ({parts})' * bool(parts)}  {visible(hit.id)}", style="dim")
        OUT.print(line)
        if hit.fields:
            fields = ", ".join(f"{name}: {_shown(value)}" for name, value in hit.fields.items())
            OUT.print(Text(f"    {visible(excerpt(fields))}", style="dim"))
        say(textwrap.indent(textwrap.fill(excerpt(hit.text), min(OUT.width, 120) - 4), "    "))


@show.register
def _(result: InteractiveSearch) -> None:
    say(f"Searching {len(result.retriever.corpus):,} documents. Enter an empty line to quit.")
    while query := _read_query():
        show(result.answer(query))


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_query() -> str:
    try:
        return input("search> ").strip()
    except EOFError:
        return ""
