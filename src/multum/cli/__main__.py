"""Lets `python -m multum.cli` do what `multum` does."""

import sys

from multum.cli.entry import main

sys.exit(main())
