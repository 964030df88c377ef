"""Mutations of valid inputs: bytes, lines and JSON values, chosen by a random generator with a seed."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

LONG_INTEGER = "9" * 5000
NASTY_WORDS = (
    "none",
    "", " ", "null", "~", "true", "-1", "0", "1e999", "nan", "-inf", ".nan", "1_0", "\u0661", "2024-13-45", "0x_",
    "!!int abc", "!!float ''", "!!set {a}", "&a [*a]", "*b", "[", "{", "{a: b", "[1,2", "[[]]", "{}", "[]", "{1: 2}",
    "{null: 1}", "{type: 1}", "{type: [1]}", "{type: bm25, type: run}", "a: b", "'", '"\\ud800"', "'\x1b[2J'", "@x",
    ":smile: [/b]", "../../nowhere", "/dev", "/dev/null", "/proc/self/mem", "x" * 300, "a/" * 3000, "bm25/x", "minilm",
    "\udce9", "\x00", "\n", "--", "-", "%s%n", "nDCG@99999999999999999999", "nDCG@-1", "P@0", "RR@x", "AP(rel=x)",
    "[" * 900, "{a: " * 500, str(2**31), str(2**63), str(2**64), LONG_INTEGER, f"-{LONG_INTEGER}", f"1.{LONG_INTEGER}",
)  # fmt: skip
NASTY_VALUES: tuple[Any, ...] = (
    None, True, [], {}, "", [[]], [None], {"": None}, -1, 0, 1, 2**31, 2**63, -(2**63) - 1, 1e308, float("nan"),
    float("inf"), "x" * 300, "../../outside", "/etc", "\ud800", "\x1b]0;x\x07", "<script>", {"type": "x"},
    {"a": {"b": []}},
)  # fmt: skip


def nested(depth: int = 2000) -> str:
    """Return JSON with many nested lists."""
    return "[" * depth + "]" * depth


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one to three changes: flipped, inserted, removed, repeated or truncated."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        position = rng.randrange(len(changed) + 1)
        kind = rng.randrange(6)
        if kind == 0 and position < len(changed):
            changed[position] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[position:position] = rng.choice(
                (b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[2J", b"\n\n", b"\r", b"\t")
            )
        elif kind == 2:
            del changed[position : position + rng.randint(1, 64)]
        elif kind == 3:
            changed[position:position] = changed[position : position + rng.randint(1, 256)]
        elif kind == 4:
            del changed[position:]
        else:
            changed[position : position + 4] = rng.choice((b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"9999"))
    return bytes(changed)


def mutate_json(text: str, rng: random.Random) -> str:
    """Return a JSON text in which one value is replaced, removed or added."""
    value = json.loads(text)
    kind = rng.randrange(12)
    if kind == 0:
        return json.dumps(rng.choice(NASTY_VALUES))
    if kind == 1:
        return rng.choice((LONG_INTEGER, nested(), f'{{"a": {LONG_INTEGER}}}', "", "{", "NaN", text + text))
    places = [*_places(value, [])] or [[]]
    path = rng.choice(places)
    if not path:
        return json.dumps(rng.choice(NASTY_VALUES))
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if kind == 2:
        del inner[path[-1]]
    elif kind == 3 and isinstance(inner, dict):
        inner[rng.choice(("unknown", "", "type", "../x"))] = rng.choice(NASTY_VALUES)
    elif kind == 4 and isinstance(inner, list):
        inner += copy.deepcopy(inner)
    elif kind == 5:
        inner[path[-1]] = "\0LONG\0"
        return json.dumps(changed).replace(json.dumps("\0LONG\0"), rng.choice((LONG_INTEGER, nested(), "NaN")))
    else:
        inner[path[-1]] = rng.choice(NASTY_VALUES)
    return json.dumps(changed)


def _places(value: Any, path: list[Any]) -> Any:
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 20)) if isinstance(value, list) else ()
    for key in keys:
        yield [*path, key]
        yield from _places(value[key], [*path, key])


def _is_json(line: str) -> bool:
    """Return whether a line is a JSON object or list; an earlier mutation may have made it invalid."""
    try:
        return isinstance(json.loads(line), dict | list)
    except (RecursionError, ValueError):
        return False


def mutate_lines(text: str, rng: random.Random) -> str:
    """Return a text in which one line is removed, repeated, replaced, or has other values."""
    lines = text.split("\n")
    number = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[number]
    elif kind == 1:
        lines.insert(number, lines[number])
    elif kind == 2:
        lines[number] = rng.choice(NASTY_WORDS).replace("\udce9", "\u00e9")
    elif kind == 3 and _is_json(lines[number]):
        lines[number] = mutate_json(lines[number], rng)
    else:
        separator = "\t" if "\t" in lines[number] else ": " if ": " in lines[number] else " "
        words = lines[number].split(separator)
        words[rng.randrange(len(words))] = rng.choice(NASTY_WORDS).replace("\udce9", "\u00e9")
        lines[number] = separator.join(words)
    return "\n".join(lines)


def mutate_file(file: Path, rng: random.Random) -> None:
    """Change one file in place, or remove it, or put a folder into its place."""
    content = file.read_bytes()
    kind = rng.randrange(20)
    if kind == 0:
        file.unlink()
    elif kind == 1:
        file.unlink()
        file.mkdir()
    elif kind == 2:
        file.write_bytes(b"")
    else:
        try:
            text = content.decode()
            structured = mutate_json if file.suffix == ".json" else mutate_lines
            is_bytes = rng.random() < 0.3
        except UnicodeDecodeError:
            is_bytes = True
        changed = mutate_bytes(content, rng) if is_bytes else structured(text, rng).encode(errors="surrogatepass")
        file.write_bytes(changed)
