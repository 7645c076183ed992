"""`multum attention adapt DATA`: accuracy recovery, with labels or without, into a run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multum.attention import AdaptConfig, adapt
from multum.cli.verb import Outcome, RunFolder, RunVerb

MEASURES = {
    "classify": "accuracy",
    "similarity": "Spearman's correlation",
    "distill": "cosine to the dense model, about the mean",
}
"""What each task is scored by."""


def _adapt(config: AdaptConfig, folder: RunFolder) -> Outcome:
    result = adapt(config, folder.out, resume=folder.resume, overwrite=folder.overwrite)
    return Outcome(result=result, text=adapted_text(config, folder.out, result))


def adapted_text(config: AdaptConfig, folder: Path, result: Mapping[str, Any]) -> str:
    """Tell in lines what a recovery brought.

    Args:
        config: What was asked for.
        folder: Where delta and schedule lie.
        result: What `adapt` measured.
    """
    return "\n".join(
        [
            f"{MEASURES[config.task]}, held-out part, {result['token_reduction']:.2f}x fewer tokens:",
            f"  dense                {result['dense']:.4f}",
            f"  pruned, as it was    {result['pruned']:.4f}",
            f"  pruned, recovered    {result['recovered']:.4f}",
            f"wrote the delta ({result['delta_bytes'] / 1e6:.1f} MB) and the schedule to {folder}",
        ]
    )


ADAPT = RunVerb(options=AdaptConfig, execute=_adapt, out=Path("runs/adapt"), recipes="attention")
