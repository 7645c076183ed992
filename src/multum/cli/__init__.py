"""The command line: `multum <system> <verb> [INPUT] [--recipe NAME] [--field value]`."""

from multum.cli.entry import main

__all__ = ["main"]
