"""HTTP service over indexes and models: search, changes of documents, embeddings, re-ranking, and a search page."""
