"""Configuration of Sphinx; the documentation is built offline, and its reference is generated from the code."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "encloze"
author = "the encloze authors"
version = release = version_of("encloze")

extensions = [
    "myst_nb",  # Markdown, and the notebooks of the gallery
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "settings_table",
    "generated_pages",
]
exclude_patterns = ["_build", "extra", "extensions"]
smartquotes = False  # it would turn the two hyphens of a flag into a dash

myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests run the notebooks

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an "Attributes:" section would describe documented fields twice

html_theme = "furo"
html_title = f"encloze {version}"
html_extra_path = ["extra"]  # an example of a report
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
