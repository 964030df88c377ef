"""The commands as functions.

Every function takes the settings of its command, by the same names (``encloze COMMAND --help`` lists them), with the
same defaults, checks and errors. Arguments may also be Python objects: an ``Encoder``, a ``Retriever``, a ``Dataset``,
a ``Corpus``, a path, a list of dictionaries, a data frame or a ``datasets.Dataset``. A component, such as the
pre-training objective, is given by its name (``objective="retromae"``) or as a dictionary of its settings
(``{"type": "retromae", "encoder_mask_rate": 0.3}``).
"""
