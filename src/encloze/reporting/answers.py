"""Queries that one system answers better than another, with what both found and the words they share with it."""

from __future__ import annotations

from collections.abc import Iterator

from encloze.data.letters import words_and_rest
from encloze.data.records import Query
from encloze.data.runs import best
from encloze.evaluation.perturbations.stop_words import StopWords
from encloze.evaluation.report import Report, SystemResult
from encloze.reporting.blocks import Answered, Excerpt
from encloze.reporting.texts import Texts
from encloze.search.analyzers.unicode import Unicode

_SHOWN, _LETTERS = 3, 240


def answered(report: Report, texts: Texts, count: int, where: str = "") -> Iterator[Answered]:
    """The queries that the best system wins and loses by most against the first one (or the next best)."""
    if len(report.systems) < 2 or count < 1 or not texts.queries:
        return
    name = report.measures[0]
    base = report.systems[0]
    other = max(report.systems[1:], key=lambda system: float(system.values[name].mean()))
    gain = other.values[name] - base.values[name]
    order = gain.argsort(kind="stable")
    won = [int(at) for at in order[::-1][:count] if gain[at] > 0]
    lost = [int(at) for at in order[:count] if gain[at] < 0]
    for at in (*won, *lost):
        query = report.queries[at]
        verdict = (
            f"{other.name} {'wins' if gain[at] > 0 else 'loses'} against {base.name}{f' on {where}' if where else ''}: "
            f"{name} {other.values[name][at]:.3f} and {base.values[name][at]:.3f}"
        )
        found = [(system.name, _excerpts(system, query, texts)) for system in (base, other)]
        yield Answered(query, texts.queries.get(query, ""), verdict, found)


def _excerpts(system: SystemResult, query: str, texts: Texts) -> list[Excerpt]:
    asked = StopWords().perturbed(Query(query, texts.queries.get(query, "")), seed=0)
    words, grades = set(Unicode().words(asked)), texts.judgments.get(query, {})
    found = []
    for rank, id_ in enumerate(best(system.run.get(query, {}), _SHOWN), 1):
        document = texts.document(id_)
        title, text = (document.title, document.text) if document else ("", "")
        relevant = grades[id_] > 0 if id_ in grades else None
        found.append(Excerpt(rank, id_, " ".join(title.split()), marked(text, words), relevant))
    return found


def marked(text: str, words: set[str], letters: int = _LETTERS) -> list[tuple[str, bool]]:
    """The piece of a text that has most of the words, in runs that are such words or not."""
    tokens = words_and_rest().findall(" ".join(text.split()))
    hits = [token.lower() in words or any(part in words for part in Unicode().words(token)) for token in tokens]
    start, end = _densest(tokens, hits, letters)
    runs = list[tuple[str, bool]]()
    for token, hit in zip(tokens[start:end], hits[start:end], strict=True):
        if runs and runs[-1][1] == hit:
            runs[-1] = (runs[-1][0] + token, hit)
        else:
            runs.append((token, hit))
    before, after = [("... ", False)] * (start > 0), [(" ...", False)] * (end < len(tokens))
    return [*before, *runs, *after] if runs else []


def _densest(tokens: list[str], hits: list[bool], letters: int) -> tuple[int, int]:
    """Where the window begins and ends, in tokens, that has the most different words of the query."""
    best_, chosen, end, size = -1, (0, 0), 0, 0
    seen: dict[str, int] = {}
    for start in range(len(tokens)):
        while end < len(tokens) and (size + len(tokens[end]) <= letters or end == start):
            size += len(tokens[end])
            if hits[end]:
                seen[tokens[end].lower()] = seen.get(tokens[end].lower(), 0) + 1
            end += 1
        if len(seen) > best_ and not tokens[start].isspace():
            best_, chosen = len(seen), (start, end)
        size -= len(tokens[start])
        if hits[start]:
            word = tokens[start].lower()
            seen[word] -= 1
            if not seen[word]:
                del seen[word]
    return chosen
