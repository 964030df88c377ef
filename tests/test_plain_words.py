"""Words that the documentation of this field does not use are not used here either."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
BANNED = re.compile(
    r"\b("
    # literary or archaic
    r"told|tells? (of|what|how|that|which|whether|apart|all|it|for|nothing|people|by|the|its|their|each)|untold"
    r"|learnt|hardships?|befalls?|befell|heeds?|heeded|heedless|unheeded|unheard|wherein|whereof|therein|thereof"
    r"|so many|so much|of one make|of (the same|another) make|same make|by heart|in vain|anew|amiss|besides"
    r"|likewise|whatever is|whosoever|herself|in between them|for aye|beholden|foremost of|on the way back|at rest"
    # metaphors
    r"|holes?|slopes?|price[ds]?|pricing|burdens?|burdened|rooms?|floors?|doors?|halls?|wings?|houses?"
    r"|wrong answers?|as it comes|as they come|goes unheard|looks? deeper|watching|judging what|tongues?|learner"
    # words of ours for things that have a name
    r"|makes? ready|made ready|mean taken off|own nearer|lends?|lent|stressed|stressing"
    r"|guess(es|ed)?|drawn with|doubtful|mend(s|ed|ing)?|stray|asked of|is asked|are asked|asked for|says? of"
    r"|what it is worth|worth having|does harm|did harm|plain harm|taught|teaches|harks?|sifted|sifting"
    r")\b",
    re.IGNORECASE,
)
# A word inside one of these is a standard term, a name or data.
ALLOWED = re.compile(
    r"rounded? (up|down)|floor division|math\.floor|np\.floor|\.floor\(|floor_divide|wing(beat|span)|house number"
)
FILES = sorted(
    path
    for root in ("src/encloze", "docs", "examples", "benchmarks", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
    for path in ([REPOSITORY / root] if (REPOSITORY / root).is_file() else (REPOSITORY / root).rglob("*"))
    if path.suffix in (".py", ".md", ".yaml", ".ipynb") and not {"_build", "generated", "results"} & set(path.parts)
)


def banned_words(text: str) -> list[str]:
    """Return ``line: word`` for each banned word of a text."""
    return [
        f"{number}: {match[0]!r} in {line.strip()[:100]!r}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in BANNED.finditer(ALLOWED.sub("", line).replace("_", " "))
    ]


def without_former_names(path: Path) -> str:
    """Return the text of a file; of the changelog, without the first columns of its tables, which hold former names."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^\|[^|\n]*\|", "|", text, flags=re.MULTILINE) if path.name == "CHANGELOG.md" else text


@pytest.mark.parametrize("root", ["src/encloze", "docs", "examples", "benchmarks", "."])
def test_no_banned_word_is_used(root: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{fault}"
        for path in FILES
        if (path.parent == REPOSITORY if root == "." else path.is_relative_to(REPOSITORY / root))
        for fault in banned_words(without_former_names(path))
    ]
    assert not found, "\n".join(found)


def test_a_banned_word_is_found() -> None:
    assert banned_words("The encoder is told.\nA price on weights.") == [
        "1: 'told' in 'The encoder is told.'",
        "2: 'price' in 'A price on weights.'",
    ]
    assert banned_words("Gradients are clipped, np.floor(x) is taken.") == []
