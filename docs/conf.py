"""How Sphinx builds these pages: offline, with the settings tables read from the source."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "encloze"
author = "the encloze authors"
version = release = version_of("encloze")

extensions = ["myst_parser", "settings_table"]
myst_heading_anchors = 3
smartquotes = False  # they would make a dash of the two hyphens of a flag
exclude_patterns = ["_build", "extra"]
html_extra_path = ["extra"]  # an example of a report, as it is

html_theme = "furo"
html_title = f"encloze {version}"
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
