"""Markdown: sections, plain text of each kind of block, and inputs that take other parsers long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from encloze.data.formats.text import Text
from encloze.data.lines import ErrorCollector
from encloze.data.markdown import markdown_sections
from encloze.data.records import Document


def sections(content: str) -> list[tuple[str, str]]:
    """Return the title and the text of each section."""
    return [
        (title, "\n\n".join(block.text for block in blocks)) for title, blocks in markdown_sections(content, "file")
    ]


def read(path: Path, passage_words: int = 150) -> list[Document]:
    errors = ErrorCollector()
    documents = list(Text(path, passage_words).documents(errors))
    errors.raise_if_any()
    return documents


def test_lines_of_code_are_no_headings() -> None:
    content = "# Install\n\n```sh\n# first clone\ngit clone x\n\n# then build\nmake\n```\n\nDone.\n\n    # indented\n"
    code = "# first clone\ngit clone x\n\n# then build\nmake"
    assert sections(content) == [("Install", f"{code}\n\nDone.\n\n# indented")]


@pytest.mark.parametrize("line", ["(resume)=", "Some text.", "* item", "<!-- comment -->\n"])
def test_a_heading_may_follow_a_line_without_a_blank_line(line: str) -> None:
    found = sections(f"# One\n\nText.\n\n{line}\n## Checkpoints and resume\nMore.\n")
    assert [title for title, _ in found] == ["One", "Checkpoints and resume"] and found[1][1] == "More."


@pytest.mark.parametrize("heading", ["# The `x` *way* #", "The `x` *way*\n===", "## The x <b>way</b>"])
def test_headings_are_plain_text(heading: str) -> None:
    assert sections(f"{heading}\n\nText.") == [("The x way", "Text.")]


def test_consecutive_headings_are_one_title_and_the_last_one_may_lack_text() -> None:
    assert sections("Start.\n# A\n## B\nText.\n# C\n") == [("file", "Start."), ("A / B", "Text."), ("C", "")]
    assert sections("> # Quoted\n>\n> text\n\n- # In a list\n") == [("file", "Quoted\ntext\n\nIn a list")]


def test_text_is_without_markup() -> None:
    content = """Read *the* **[guide](http://a.b "t")**, `code`, ![an image](x.png) &amp; [this][ref].<br>Next
\\*line\\*
soft <span class="x">break</span>.

| name | use |
|------|-----|
| `a`  | one \\| two |

1. first
   - nested
2. second

<div align="center">
<b>Centered</b> &lt;text&gt; <!-- hidden -->
<script>ignored()</script>
</div>

[ref]: http://c.d
"""
    (section,) = sections(content)
    assert section[1] == (
        "Read the guide, code, an image & this.\nNext\n*line*\nsoft break.\n\nname, use\na, one | two\n\n"
        "first\nnested\nsecond\n\nCentered <text>"
    )


def test_front_matter_is_no_text_and_may_contain_the_title() -> None:
    assert sections('---\ntitle: "The guide"\ndate: 2024\n---\nText.\n') == [("The guide", "Text.")]
    assert sections("---\ntags: [a]\n---\n# Own\nText.\n") == [("Own", "Text.")]
    assert sections("---\nText between rules.\n\n---\nMore.\n") == [("file", "Text between rules.\n\nMore.")]


def test_long_blocks_are_divided_at_their_parts(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text(
        "# L\n" + "".join(f"- item {n} of the list\n" for n in range(8)) + "\n```\none two three\n\nfour\n```\n"
    )
    assert [document.text.split("\n") for document in read(file, 10)] == [
        [f"item {n} of the list", f"item {n + 1} of the list"] for n in range(0, 8, 2)
    ] + [["one two three", "", "four"]]


@pytest.mark.parametrize(
    "text", ["[", "![", "*", "`a``", "<", "<!-- ", "|a", "_a_", "> ", "- ", "<a href='", "\\", "[a]("]
)
def test_repeated_markup_is_read_in_time(text: str) -> None:
    start = time.process_time()
    for prefix in ("", "<div>\n"):
        list(markdown_sections(prefix + text * 5000, "file"))
    assert time.process_time() - start < 5


# Plain text


def test_headings_of_plain_text_are_text_and_the_first_line_may_be_the_title(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n Bolts and nuts \n\n# They hold wood.\n")
    (tmp_path / "b.txt").write_text("Only a title")
    assert [(d.title, d.text) for d in read(tmp_path)] == [
        ("a", "Bolts and nuts\n\n# They hold wood."),
        ("b", "Only a title"),
    ]
    documents = list(Text(tmp_path, txt_title="first_line").documents(ErrorCollector()))
    assert [(d.title, d.text, d.id) for d in documents] == [
        ("Bolts and nuts", "# They hold wood.", "a.txt#0"),
        ("Only a title", "Only a title", "b.txt#0"),
    ]


def test_short_paragraphs_are_joined_to_their_neighbors(tmp_path: Path) -> None:
    body = " ".join(["word"] * 148)
    (tmp_path / "a.txt").write_text(f"A title line\n\n{body}\n\n{body}\n\nThe end.\n")
    assert [document.text for document in read(tmp_path)] == [f"A title line\n\n{body}", f"{body}\n\nThe end."]
