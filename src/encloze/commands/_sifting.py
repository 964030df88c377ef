"""What of generated texts may ask: no empty ones, no copies, no text twice; and which split each belongs to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from encloze.data.records import Document, Question, full_text
from encloze.data.words import normalized, words_of

EMPTY, AGAIN, COPIED = "empty", "asked of the document already", "copied from its title or beginning"
PARTED, NOT_FOUND = "asked of documents of both splits", "its document is not found by it"


def sifted(written: Iterable[tuple[Document, list[str]]], dropped: Counter[str]) -> dict[str, Question]:
    """By their words, the queries among what was written for documents; what is none is counted by reason."""
    found: dict[str, Question] = {}
    for document, texts in written:
        seen: set[str] = set()
        for text in texts:
            key = normalized(text)
            if (
                why := EMPTY
                if not words_of(text)
                else AGAIN
                if key in seen
                else COPIED
                if _is_copied(key, document)
                else None
            ):
                dropped[why] += 1
            else:
                found.setdefault(key, Question(text, [])).documents.append(document.id)
            seen.add(key)
    return found


def split_up(
    queries: Iterable[Question], split_of: Mapping[str, str], dropped: Counter[str]
) -> Iterator[tuple[str, list[Question]]]:
    """The queries of each split; one whose documents lie in two stands in none."""
    parts: dict[str, list[Question]] = {}
    for query in queries:
        splits = {split_of[document] for document in query.documents}
        if len(splits) > 1:
            dropped[PARTED] += 1
        else:
            parts.setdefault(splits.pop(), []).append(query)
    yield from parts.items()


def split_of(document: Document, seed: int, dev_share: float) -> str:
    """A document's split, by a hash of its words, so that copies of a text are in the same one."""
    text = normalized(full_text(document.title, document.text))
    return "dev" if draw(f"dev {seed} {text}") < dev_share else "train"


def draw(text: str) -> float:
    """A number in [0, 1) by a hash of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def id_of(question: Question) -> str:
    """Told by its words, so that queries of two runs can stand together."""
    return f"generated:{hashlib.sha256(normalized(question.text).encode()).hexdigest()[:16]}"


def write(folder: Path, parts: Iterable[tuple[str, list[Question]]]) -> None:
    """The queries and judgments of splits in BEIR's layout, without documents."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    queries: dict[str, str] = {}
    for split, part in parts:
        queries |= {id_of(query): query.text for query in part}
        judged = "".join(f"{id_of(query)}\t{document}\t1\n" for query in part for document in query.documents)
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    lines = (json.dumps({"_id": id_, "text": text}, ensure_ascii=False) for id_, text in queries.items())
    (folder / "queries.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _is_copied(key: str, document: Document) -> bool:
    """Whether a query is the title, or what the text or title and text begin with."""
    title, text = normalized(document.title), normalized(document.text)
    return key == title or any(
        begun.startswith(key) and not begun[len(key) : len(key) + 1].isalnum() for begun in (text, f"{title} {text}")
    )
