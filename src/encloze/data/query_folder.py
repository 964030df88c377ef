"""Folder of generated queries: queries and judgments in BEIR layout, without documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from encloze.data.records import LabeledQuery
from encloze.data.words import normalize_text


def query_id(query: LabeledQuery) -> str:
    """Return an id that depends only on the query's text, so that a query generated again keeps its id."""
    return f"generated:{hashlib.sha256(normalize_text(query.text).encode()).hexdigest()[:16]}"


def write_query_folder(folder: Path, splits: Mapping[str, Sequence[LabeledQuery]]) -> None:
    """Write the queries to ``queries.jsonl``, and the judgments of each split to ``qrels/SPLIT.tsv``.

    Args:
        folder: Folder to write; created if necessary.
        splits: Queries of each split, by the name of the split.
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    texts: dict[str, str] = {}
    for split, queries in splits.items():
        texts |= {query_id(query): query.text for query in queries}
        rows = "".join(f"{query_id(query)}\t{document}\t1\n" for query in queries for document in query.document_ids)
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}", encoding="utf-8")
    lines = (json.dumps({"_id": id_, "text": text}, ensure_ascii=False) for id_, text in texts.items())
    (folder / "queries.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
