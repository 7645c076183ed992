"""Multum in parvo: much in little."""

from multum.version import __version__

__all__ = ["__version__"]
