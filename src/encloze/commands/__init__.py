"""Commands of the command line and the Python API, one per file."""
