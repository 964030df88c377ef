"""Escapes of foreign text in terminals and in Markdown."""

from __future__ import annotations

import pytest

from encloze import progress
from encloze.cli.display import console, progress_bars
from encloze.escapes import markdown, visible
from encloze.reporting.blocks import BulletList, Code, Excerpt, Paragraph, QueryExample, Section
from encloze.reporting.document import ReportDocument
from encloze.reporting.markdown import render_markdown
from encloze.tables import Column, Table

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r :smile: [v[/b]] [link=x]y[/link] <script>alert(1)</script> \u202etxt"


@pytest.mark.parametrize("text", ["plain", "שלום: \u2068x\u2069\u200f", "a\nb\tc", "\U0001f600"])
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert visible(text) == text


def test_control_characters_are_shown() -> None:
    assert visible("a\x1b[2J\x00\x7f\x9b\r\u2028\u202e\ud800") == r"a\x1b[2J\x00\x7f\x9b\x0d\u2028\u202e\ud800"


def test_nothing_in_data_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(HOSTILE)
    console.show_table(Table(HOSTILE, (Column(HOSTILE),), ((HOSTILE,),)))
    console.show(HOSTILE)
    console.OUT.print(HOSTILE)  # what forgets to escape is escaped by the console
    display = progress_bars.progress_display()
    display.note(HOSTILE)
    display.warn(HOSTILE)
    display.on_start(task := progress.Task(HOSTILE, 1, "x"))
    display.on_finish(task)
    text = "".join(capsys.readouterr())
    assert not [letter for letter in text if (ord(letter) < 32 and letter != "\n") or 126 < ord(letter) < 160]
    assert text.count(":smile: [v[/b]] [link=x]") >= 6 and "\u202e" not in text


def test_reports_in_markdown_contain_no_html_and_no_links() -> None:
    excerpt = Excerpt(1, HOSTILE, HOSTILE, [(HOSTILE, True), (HOSTILE, False)], None)
    blocks = [
        Paragraph(HOSTILE),
        BulletList(HOSTILE, [HOSTILE, "[x](javascript:alert)"]),
        Table(HOSTILE, (Column(HOSTILE),), ((HOSTILE + "|",),)),
        Code(HOSTILE, "a: 1"),
        QueryExample(HOSTILE, HOSTILE, HOSTILE, [(HOSTILE, [excerpt])]),
    ]
    text = render_markdown(ReportDocument(HOSTILE, [Section(HOSTILE, blocks)], [], []))
    assert "<script" not in text and "](" not in text and "\x1b" not in text and r"\|" in text


def test_backslashes_and_ampersands_are_kept() -> None:
    assert markdown(r"a\b & &lt;") == r"a\\b &amp; &amp;lt;"
