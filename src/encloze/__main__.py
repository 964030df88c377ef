"""Run ``encloze`` as ``python -m encloze``."""

import sys

from encloze.cli.main import main

sys.exit(main())
