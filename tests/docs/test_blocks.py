"""Code blocks and commands are found in Markdown pages."""

from __future__ import annotations

import pytest
from blocks import REPOSITORY, Block, blocks_of, commands_of, transcripts_of

PAGE = """# Title

```python
one = 1
```

<!-- not run: needs a GPU -->
```python
two = 2
```

1. An item

   ```bash
   encloze pretrain --corpus a \\
     --output b
   ENCLOZE_CACHE=x encloze list | head   # encloze no such thing
   cd x && encloze search --index i "a query" > out
   encloze evaluate --systems '[bm25,
     {type: model, model: m}]'
   ```
"""


def test_blocks_have_their_line_language_and_reason() -> None:
    first, second, third = blocks_of(REPOSITORY / "page.md", PAGE)
    assert (first.line, first.language, first.code, first.skipped) == (4, "python", "one = 1", "")
    assert (second.code, second.skipped) == ("two = 2", "needs a GPU")
    assert (third.language, third.location) == ("bash", "page.md:15")


def test_commands_are_found_across_lines_pipes_and_comments() -> None:
    *_, block = blocks_of(REPOSITORY / "page.md", PAGE)
    assert list(commands_of(block)) == [
        (15, ["pretrain", "--corpus", "a", "--output", "b"]),
        (17, ["list"]),
        (18, ["search", "--index", "i", "a query"]),
        (19, ["evaluate", "--systems", "[bm25, {type: model, model: m}]"]),
    ]


def test_a_block_without_commands_holds_none() -> None:
    assert list(commands_of(Block(REPOSITORY / "page.md", 1, "bash", "make demo\npip install 'encloze[train]'"))) == []


def test_options_without_a_backslash_before_them_are_a_fault() -> None:
    with pytest.raises(ValueError, match=r"page.md:2: options need a backslash"):
        list(commands_of(Block(REPOSITORY / "page.md", 2, "", "encloze list\n    --family heads")))


def test_a_command_followed_by_an_error_message_is_a_transcript() -> None:
    block = Block(
        REPOSITORY / "page.md", 5, "", "$ encloze lst\nencloze: unknown\n  second line\n$ encloze list\nnames"
    )
    (transcript,) = transcripts_of(block)
    assert (transcript.location, transcript.arguments) == ("page.md:5", ["lst"])
    assert transcript.message == "encloze: unknown\n  second line"
    assert list(commands_of(block)) == [(8, ["list"])]
