"""Few-shot prompts for query generation: a template with a document, preceded by example documents and queries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from encloze.data.lines import ErrorCollector, optional_text, read_json_lines, required_text
from encloze.errors import DataError

DEFAULT_TEMPLATE = "Document: {title} {text}\nA question that this document answers:"
_FIELD = re.compile(r"\{title\}(\s?)|\{text\}")
_REASONING = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)  # output of reasoning models before the answer


class FewShotExample(NamedTuple):
    """An example for a prompt: the title and text of a document, and a query that the document answers."""

    title: str
    text: str
    query: str


DEFAULT_EXAMPLES = (
    FewShotExample(
        "Tides",
        "The water at a coast rises and falls twice a day, because the moon draws the ocean more strongly on the near "
        "side of the earth than on the far side.",
        "why does the sea level change twice a day?",
    ),
    FewShotExample(
        "Storing bread",
        "Bread goes stale fastest at the temperature of a refrigerator. Keep it in a box of clay or wood, or freeze it "
        "in slices and toast them one by one.",
        "should bread be kept in the fridge?",
    ),
    FewShotExample(
        "",
        "Employees who relocate for the company are given two days of leave, and the cost of the move up to 1,500 "
        "euros is paid back against receipts within six weeks.",
        "how much of my moving costs does the company pay back?",
    ),
)
"""Examples for English questions, used if no others are given."""


class Prompt(NamedTuple):
    """A few-shot prompt: a template for a document, and the examples that precede the document.

    Example:
        >>> example = FewShotExample("", "Rivers end in seas.", "where do rivers end")
        >>> prompt = Prompt("Text: {text} Question:", (example,))
        >>> prompt.to_text("", "Bread is baked.")
        'Text: Rivers end in seas. Question: where do rivers end\\n\\nText: Bread is baked. Question:'
    """

    template: str
    """Text with the placeholder ``{text}`` and, optionally, ``{title}``, for the text and the title of a document."""
    examples: tuple[FewShotExample, ...]
    """Example documents with queries, in the order in which they appear in the prompt."""

    @classmethod
    def from_settings(cls, template: str, examples: Path | None) -> Prompt:
        """Create the prompt of a query generator from its settings.

        Args:
            template: Template of the prompt; if empty, the default template.
            examples: JSON Lines file of examples, see ``read_examples``. If it is None, a prompt with the default
                template has the default examples, and a prompt with any other template has no examples.

        Raises:
            DataError: The file of examples is malformed or empty.
        """
        file_examples = read_examples(examples) if examples else ()
        return cls(template or DEFAULT_TEMPLATE, file_examples or (() if template else DEFAULT_EXAMPLES))

    def render(self, title: str, text: str) -> str:
        """Return the template with the title and the text of a document inserted."""
        title, text = title.strip(), text.strip()

        def replacement(field: re.Match[str]) -> str:
            if field[0] == "{text}":
                return text
            return title and title + field[1]

        return _FIELD.sub(replacement, self.template)  # in one pass, because a document may contain "{text}"

    def to_messages(self, title: str, text: str) -> list[dict[str, str]]:
        """Return the prompt as chat messages: a user and an assistant message per example, then the document."""
        messages = []
        for example in self.examples:
            messages.append({"role": "user", "content": self.render(example.title, example.text)})
            messages.append({"role": "assistant", "content": example.query})
        return [*messages, {"role": "user", "content": self.render(title, text)}]

    def to_text(self, title: str, text: str) -> str:
        """Return the prompt as one text, for models without a chat template."""
        examples = [f"{self.render(example.title, example.text)} {example.query}" for example in self.examples]
        return "\n\n".join([*examples, self.render(title, text)])


def read_examples(file: Path) -> tuple[FewShotExample, ...]:
    """Read examples from a JSON Lines file with the fields text, query and, optionally, title.

    Args:
        file: JSON Lines file, plain or gzipped.

    Raises:
        DataError: Lines are malformed, or there are no examples. The error lists all malformed lines.
    """
    errors, examples = ErrorCollector(), list[FewShotExample]()
    for location, row in read_json_lines(file, errors):
        text = required_text(row, ("text",), location, errors)
        query = required_text(row, ("query",), location, errors)
        title = optional_text(row, "title", location, errors) or ""
        if text is not None and query is not None:
            examples.append(FewShotExample(title, text, query))
    errors.raise_if_any()
    if not examples:
        raise DataError(
            f"{file} contains no examples. Write one JSON object per line, with the fields text, query and, "
            "optionally, title"
        )
    return tuple(examples)


def first_line(text: str) -> str:
    """Return the first non-blank line of a generated text, without reasoning (``<think>``) and quotation marks."""
    encodable = text.encode("utf-8", "ignore").decode()  # unpaired surrogates cannot be saved
    lines = (line.strip() for line in _REASONING.sub("", encodable).splitlines())
    return " ".join(next((line for line in lines if line), "").strip("\"'“”„«»`* ").split())
