"""Text to representations: what encodes queries and documents, and scores pairs, behind one protocol."""
