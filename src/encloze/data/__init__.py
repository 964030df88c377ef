"""Documents, queries, judgments and labels: records, formats, checks and storage, without torch."""
