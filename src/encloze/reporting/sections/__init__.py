"""The sections of a report, one kind of result a file."""
