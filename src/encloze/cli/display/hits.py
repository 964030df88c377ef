"""Display of search hits."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from rich.text import Text

from encloze.cli.display.console import OUT, excerpt, say, show
from encloze.commands.search import ExplainedHits, InteractiveSearch
from encloze.data.records import Hit
from encloze.escapes import visible
from encloze.retrieval.explanations import Explanation
from encloze.retrieval.results import Hits

_EXCERPT = 200
_CONTEXT = 40  # characters before the first matching word of a passage


@show.register
def _(result: Hits) -> None:
    if not result:
        say("No document matches the query.")
    elif result.answer and not result.answer.is_likely:
        probability = f"probability of an answer {result.answer.probability:.2f}"
        say(f"The collection probably does not answer this query ({probability}). The best documents are:")
    for rank, hit in enumerate(result, 1):
        parts = ", ".join(f"{name} {score:.3f}" for name, score in hit.parts.items())
        line = Text(f"{rank:>2}. ")
        line.append(visible(hit.title or hit.id), style="bold")
        line.append(f"  {hit.score:.4f}{f' ({parts})' * bool(parts)}  {visible(hit.id)}", style="dim")
        OUT.print(line)
        if hit.fields:
            fields = ", ".join(f"{name}: {_shown(value)}" for name, value in hit.fields.items())
            OUT.print(Text(f"    {visible(excerpt(fields))}", style="dim"))
        text = _passage(hit)
        text.highlight_words(_words(hit), style="bold")
        for row in text.wrap(OUT, min(OUT.width, 120) - 4):
            row.rstrip()
            OUT.print(Text("    ").append_text(row))
        if isinstance(result, ExplainedHits) and hit.explanation:
            for explained in _explanation_lines(hit.explanation):
                OUT.print(Text(f"    {visible(explained)}", style="dim"))


def _passage(hit: Hit) -> Text:
    """Return the part of a text that contains most of the matching words, or else its beginning."""
    spans: Sequence[tuple[int, int]] = hit.explanation.words if hit.explanation else ()
    begins, best, most = [begin for begin, _ in spans], 0, 0
    for first, begin in enumerate(begins):
        start = begin if begin > _EXCERPT // 2 else 0
        inside = spans[first : bisect_left(begins, start + _EXCERPT - _CONTEXT)]
        if (words := len({hit.text[b:e].lower() for b, e in inside})) > most:
            best, most = start, words
    if not best:
        return Text(visible(excerpt(hit.text)))
    begin = hit.text.rfind(" ", 0, best - _CONTEXT) + 1
    return Text(visible(f"... {excerpt(hit.text[begin:])}"))


def _words(hit: Hit) -> list[str]:
    """Return the different matching words of a hit."""
    return sorted({visible(hit.text[begin:end]) for begin, end in hit.explanation.words}) if hit.explanation else []


def _explanation_lines(explanation: Explanation) -> Iterator[str]:
    """Yield a line on each index, and on the ranking before re-ranking."""
    for view in explanation.views:
        rank = f"rank {view.rank:,}" if view.rank else "not among the candidates"
        weight = "" if view.weight is None else f", weight {view.weight:g}"
        terms = ", ".join(f"{term} {score:.3f}" for term, score in view.terms.items())
        yield f"{view.name}: {view.score:.4f}, {rank}{weight}{f' = {terms}' * bool(terms)}"
    if len(explanation.views) > 1:
        yield f"fused: {explanation.score:.4f}, rank {explanation.rank}"


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
