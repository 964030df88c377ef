"""Finding: indexes, what they read, and how their rankings are joined; no torch."""
