"""Index a few documents with BM25 and search them; needs no torch and no model."""

from encloze import Corpus, Retriever

TEXTS = {
    "Thread pools": "A pool of threads runs functions in the background and returns their results.",
    "Regular expressions": "A pattern describes a set of strings; a search finds the places that match it.",
    "Context managers": "A with block acquires a resource at its beginning and releases it at its end.",
    "Generators": "A function that yields produces one value at a time and keeps its state in between.",
}


def main() -> None:
    corpus = Corpus.from_dicts([{"id": title, "title": title, "text": text} for title, text in TEXTS.items()])
    retriever = Retriever.build(corpus, indexes=["bm25"])
    queries = ["run a function in the background", "find a match for a pattern"]
    for query, hits in zip(queries, retriever.search(queries, k=2), strict=True):
        print(query)
        for hit in hits:
            print(f"  {hit.score:.2f}  {hit.id}")


if __name__ == "__main__":
    main()
