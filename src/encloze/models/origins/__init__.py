"""Origins: where a model that is to be trained comes from, one a file."""
