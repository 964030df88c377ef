"""The commands as functions.

Every function takes the settings of its command, by the same names (``encloze COMMAND --help`` lists them), with the
same defaults, checks and errors. Arguments may also be objects: an ``Encoder`` or its name, a ``Retriever``, a
``Dataset``, a ``Corpus``, a path, a list of dictionaries, a data frame, a ``datasets.Dataset``; members of families by
name (``objective="retromae"``) or with settings (``{"type": "retromae", "encoder_mask_rate": 0.3}``).
"""
