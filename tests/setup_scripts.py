"""The modules of the set-up, for its tests.

They are scripts and no package: they run before anything is installed, from the folder they lie in.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "scripts"))

import setup  # noqa: E402
import setup_pip  # noqa: E402
import setup_stamp  # noqa: E402
import setup_torch  # noqa: E402

__all__ = ["REPOSITORY", "setup", "setup_pip", "setup_stamp", "setup_torch"]
