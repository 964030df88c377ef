"""Origins: the sources of models that are trained, one kind a file."""
