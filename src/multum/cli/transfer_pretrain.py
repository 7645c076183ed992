"""`multum transfer pretrain-lite DATA`: lite residuals learn from much data, for many tasks to start from."""

from pathlib import Path

from multum.cli.verb import Outcome, RunFolder, RunVerb
from multum.core.config import to_dict
from multum.transfer.pretrain_lite_command import PretrainLiteConfig, PretrainLiteResult, pretrain_lite


def _pretrain(config: PretrainLiteConfig, folder: RunFolder) -> Outcome:
    result = pretrain_lite(config, folder.out, resume=folder.resume, overwrite=folder.overwrite)
    return Outcome(result=to_dict(result), text=pretrained_text(result, folder.out))


def pretrained_text(result: PretrainLiteResult, folder: Path) -> str:
    """Tell what was kept of a training.

    Args:
        result: What `pretrain_lite` found.
        folder: Where the run lies.
    """
    trained = result.training
    learned = (
        f"{trained.backbone} at {trained.side} px: {result.num_blocks} lite residuals learned from "
        f"{trained.num_train} pictures of {len(trained.classes)} classes, and know {trained.test_accuracy:.1%} of "
        f"{trained.test.num_pictures} others"
    )
    kept = f"wrote {folder / result.lite_file}, {result.num_bytes / 1e6:.1f} MB"
    return f"{learned}\n{kept}; start from it with multum transfer train --lite-weights"


PRETRAIN_LITE = RunVerb(options=PretrainLiteConfig, execute=_pretrain, out=Path("runs/transfer-lite"))
