"""Where a training stands: the handful of numbers that a checkpoint needs beside its tensors."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Progress:
    """Where a training stands, beside its tensors."""

    fingerprint: str
    """Of its pictures."""
    step: int = 0
    """Steps that are done."""
    loss_sum: float = 0.0
    """Over the pictures of the epoch so far."""
    best_epoch: int = 0
    """Counted from 1; 0 before the first one is done."""
    best_accuracy: float | None = None
    """On the validation part, at the best epoch."""
    best_loss: float | None = None
    """Likewise."""

    def is_better(self, accuracy: float | None, loss: float | None) -> bool:
        """Whether an epoch is the best so far: it knows more, or as much at a lower loss; unasked, the latest is."""
        if accuracy is None or loss is None or self.best_accuracy is None or self.best_loss is None:
            return True
        return (accuracy, -loss) > (self.best_accuracy, -self.best_loss)
