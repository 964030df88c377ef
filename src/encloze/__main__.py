"""``python -m encloze`` is ``encloze``."""

import sys

from encloze.cli.main import main

sys.exit(main())
