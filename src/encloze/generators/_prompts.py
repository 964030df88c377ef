"""Prompts: a document put into a template, after examples of documents and good queries for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from encloze.data.lines import Faults, field_of, json_objects, optional_text
from encloze.errors import DataError

DEFAULT = "Document: {title} {text}\nA question that this document answers:"
_PLACE = re.compile(r"\{title\}(\s?)|\{text\}")
_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)  # what models that reason say before they answer


class Example(NamedTuple):
    """A document and a good query for it."""

    title: str
    text: str
    query: str


SHIPPED = (
    Example(
        "Tides",
        "The water at a coast rises and falls twice a day, because the moon draws the ocean more strongly on the near "
        "side of the earth than on the far side.",
        "why does the sea level change twice a day?",
    ),
    Example(
        "Storing bread",
        "Bread goes stale fastest at the temperature of a refrigerator. Keep it in a box of clay or wood, or freeze it "
        "in slices and toast them one by one.",
        "should bread be kept in the fridge?",
    ),
    Example(
        "",
        "Employees who move house for the company are given two days of leave, and the cost of the move up to 1,500 "
        "euros is paid back against receipts within six weeks.",
        "how much of my moving costs does the company pay back?",
    ),
)
"""For questions in English, where nobody gave other examples."""


class Prompt(NamedTuple):
    """A template and the examples that go before it."""

    template: str
    examples: tuple[Example, ...]

    @classmethod
    def of(cls, template: str, examples: Path | None) -> Prompt:
        """The prompt that settings ask for; without a template it is the default one, which has examples."""
        given = read_examples(examples) if examples else ()
        return cls(template or DEFAULT, given or (() if template else SHIPPED))

    def asked(self, title: str, text: str) -> str:
        """The template with a document in it."""
        parts = {"{text}": text.strip(), "{title}": title.strip()}

        def put(place: re.Match[str]) -> str:
            if place[0] == "{text}":
                return parts["{text}"]
            return parts["{title}"] and parts["{title}"] + place[1]

        return _PLACE.sub(put, self.template)  # in one go: a document may hold {text} itself

    def turns(self, title: str, text: str) -> list[dict[str, str]]:
        """A conversation: each example asked and answered, then what is asked."""
        said = []
        for example in self.examples:
            said.append({"role": "user", "content": self.asked(example.title, example.text)})
            said.append({"role": "assistant", "content": example.query})
        return [*said, {"role": "user", "content": self.asked(title, text)}]

    def run_on(self, title: str, text: str) -> str:
        """One text that a model without conversations goes on with."""
        shown = [f"{self.asked(example.title, example.text)} {example.query}" for example in self.examples]
        return "\n\n".join([*shown, self.asked(title, text)])


def read_examples(file: Path) -> tuple[Example, ...]:
    """The examples in a file. Raises DataError with all faulty lines, and where there is none."""
    faults, found = Faults(), list[Example]()
    for where, value in json_objects(file, faults):
        text = field_of(value, ("text",), where, faults)
        query = field_of(value, ("query",), where, faults)
        title = optional_text(value, "title", where, faults) or ""
        if text is not None and query is not None:
            found.append(Example(title, text, query))
    faults.stop()
    if not found:
        raise DataError(f"{file} holds no examples: a line is an object with text, query and perhaps title")
    return tuple(found)


def first_line(text: str) -> str:
    """The first line with something in it, without what a model thought before and without quotation marks."""
    whole = text.encode("utf-8", "ignore").decode()  # half a character cannot be written down
    lines = (line.strip() for line in _THOUGHT.sub("", whole).splitlines())
    return " ".join(next((line for line in lines if line), "").strip("\"'“”„«»`* ").split())
