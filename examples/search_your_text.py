"""Write a few documents, index their words, search them; no torch, no model."""

import json
import tempfile
from pathlib import Path

import encloze
from encloze.data.formats.jsonl import Jsonl
from encloze.search.indexes.bm25 import Bm25

TEXTS = {
    "Thread pools": "A pool of threads runs functions in the background and hands back their results.",
    "Regular expressions": "A pattern describes a set of strings, and a search finds the places that match it.",
    "Context managers": "A with block takes something at its beginning and gives it back at its end.",
    "Generators": "A function that yields makes one value at a time and remembers where it was.",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus, index = Path(folder, "texts.jsonl"), Path(folder, "index")
        rows = [json.dumps({"id": str(number), "title": t, "text": x}) for number, (t, x) in enumerate(TEXTS.items())]
        corpus.write_text("\n".join(rows), encoding="utf-8")

        done = encloze.Index(output=index, corpus=Jsonl(corpus), indexes=(Bm25(),)).run()
        print(f"{done.documents} documents")

        searcher = encloze.Retriever.load(index)
        for query in ("run a function in the background", "find a match for a pattern"):
            print(query)
            for document, hit in searcher.search(query, k=2):
                print(f"  {hit.score:.2f}  {document.title}")


if __name__ == "__main__":
    main()
