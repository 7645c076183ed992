"""The training of a network of scans: steps, averages, judgement, and the weights that were best.

A training that was killed goes on bit for bit from its last checkpoint. For that, whatever is drawn belongs to a place:
the order to the seed and the epoch, the variation of a scan to its name too, dropout to the step; and everything else
that moves (weights, statistics of norms, momentum, averages) is in the checkpoint.

Source: SPVNAS (ECCV 2020), section 4.1 and its code: SGD with Nesterov's momentum, warm-up, cosine.
Differs from the paper: the epoch is chosen on a validation part; scans are cut around a point, not thinned out.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from multum.core import UserError, from_dict, invalid, to_dict, track
from multum.data import seeded_generator
from multum.pointcloud.segmentation.config import PAPER_BATCH, PAPER_RATE, SegmentationConfig
from multum.pointcloud.segmentation.data import SegmentationData
from multum.pointcloud.segmentation.judge import judge_scans
from multum.pointcloud.segmentation.loss import segmentation_loss
from multum.pointcloud.segmentation.model import Segmenter
from multum.pointcloud.segmentation.result import SegmentationJudgement
from multum.pointcloud.segmentation.samples import training_batch
from multum.pointcloud.segmentation.scan_reader import ScanReader
from multum.training import (
    CHECKPOINT_FILE,
    METRICS_FILE,
    BatchPlan,
    MetricLog,
    TrainingState,
    copies,
    follow,
    holding,
    restore_checkpoint,
    save_checkpoint,
)


@dataclass(kw_only=True)
class SegmentationProgress:
    """Where a training stands, beside its tensors."""

    fingerprint: str
    """Of its scans."""
    step: int = 0
    """Steps that are done."""
    loss_sum: float = 0.0
    """Over the steps of the epoch so far."""
    best_epoch: int = 0
    """Counted from 1; 0 before the first one is done."""
    best_mean_iou: float | None = None
    """On the validation part, at the best epoch."""
    best_loss: float | None = None
    """Likewise."""

    def is_better(self, found: SegmentationJudgement | None) -> bool:
        """Whether an epoch is the best so far: a higher mean IoU, or the same at a lower loss; unasked, the latest."""
        if found is None or self.best_mean_iou is None or self.best_loss is None:
            return True
        return (found.mean_iou, -found.loss) > (self.best_mean_iou, -self.best_loss)


class SegmentationTraining:
    """A training, from its start or from its checkpoint.

    Args:
        segmenter: The network; it is trained in place.
        data: The scans.
        config: The dials.
        folder: Keeps the checkpoint and the metrics; a training that lies there is continued.

    Raises:
        UserError: The checkpoint there belongs to another training.
    """

    def __init__(
        self, segmenter: Segmenter, data: SegmentationData, config: SegmentationConfig, folder: Path
    ) -> None:
        self.segmenter, self.net, self.config = segmenter, segmenter.net, config
        self.train = ScanReader(data.train, cache_bytes=config.cache_bytes)
        self.validation = None
        if data.validation is not None:
            self.validation = ScanReader(data.validation, cache_bytes=config.cache_bytes)
        if config.early_stop is not None and self.validation is None:
            raise invalid("early_stop", "None without a validation part", config.early_stop, "set validation")
        self.live: dict[str, Tensor] = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        self.optimizer = torch.optim.SGD(
            self.net.parameters(),
            lr=config.rate.peak,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
        )
        self.best = copies(self.live)
        self.average = copies(self.live) if config.ema else {}
        self.plan = BatchPlan(
            lengths=(1,) * len(self.train),
            batch_size=config.batch_size,
            num_epochs=config.num_epochs,
            seed=config.seed,
        )
        self.progress = SegmentationProgress(fingerprint=data.fingerprint)
        self.checkpoint, self.log = folder / CHECKPOINT_FILE, MetricLog(folder / METRICS_FILE)
        if self.checkpoint.exists():
            self._restore()
        self.log.rewind(self.progress.step)

    @property
    def num_epochs(self) -> int:
        """Epochs that are done."""
        return self.progress.step // self.plan.steps_per_epoch

    def stops_early(self) -> bool:
        """Whether too many epochs in a row were no better."""
        patience = self.config.early_stop
        return patience is not None and self.num_epochs - self.progress.best_epoch >= patience

    def run(self) -> None:
        """Train to the end; the network has the best weights then, and is in evaluation mode."""
        left = self.plan.num_steps - self.progress.step
        if left and not self.stops_early():
            self.train.check_labels()
            for batch in track(self._batches_left(), "training", left):
                self._step(batch)
                if self.progress.step % self.plan.steps_per_epoch == 0:
                    self._end_epoch()
                    if self.stops_early():
                        break
                elif self.progress.step % self.config.checkpoint_steps == 0:
                    self._save()
        with torch.no_grad():
            for name, tensor in self.live.items():
                tensor.copy_(self.best[name])
        self.net.eval()

    def _batches_left(self) -> Iterator[list[int]]:
        start = self.progress.step
        for epoch in range(start // self.plan.steps_per_epoch, self.plan.num_epochs):
            first = epoch * self.plan.steps_per_epoch
            yield from self.plan.epoch(epoch)[max(0, start - first) :]

    def _step(self, indices: Sequence[int]) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate.at(self.progress.step, num_steps=self.plan.num_steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(indices)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged("loss", value)
        loss.backward()
        self.optimizer.step()
        self.progress.step += 1
        self.progress.loss_sum += value
        if self.config.ema:
            follow(self.average, self.live, self.config.ema, self.progress.step)

    def _loss(self, indices: Sequence[int]) -> Tensor:
        """The loss of a batch; what dropout hides belongs to the step."""
        config = self.config
        seen = training_batch(self.train, indices, config, epoch=self.num_epochs)
        self.net.train()
        with torch.random.fork_rng():
            torch.manual_seed(seeded_generator(config.seed, "dropout", self.progress.step).initial_seed())
            score_NK = self.net(seen.batch)
        return segmentation_loss(
            score_NK, seen.label_N, label_smoothing=config.label_smoothing, lovasz=config.lovasz
        )

    def _end_epoch(self) -> None:
        epoch, progress = self.num_epochs, self.progress
        mean_loss = progress.loss_sum / self.plan.steps_per_epoch
        record: dict[str, object] = {"step": progress.step, "epoch": epoch, "loss": mean_loss}
        judged, found = self.average or self.live, None
        if self.validation is not None:
            found = self._validate(self.validation, judged)
            record |= {
                "validation_loss": found.loss,
                "validation_accuracy": found.accuracy,
                "validation_mean_iou": found.mean_iou,
            }
        if progress.is_better(found):
            progress.best_epoch = epoch
            if found is not None:
                progress.best_mean_iou, progress.best_loss = found.mean_iou, found.loss
            for name, tensor in judged.items():
                self.best[name].copy_(tensor.detach())
        progress.loss_sum = 0.0
        self.log.append(record)
        self._save()

    def _validate(self, reader: ScanReader, judged: dict[str, Tensor]) -> SegmentationJudgement:
        self.net.eval()
        with holding(self.live, judged):
            found = judge_scans(self.segmenter, reader, tell=f"validating epoch {self.num_epochs}")
        if not math.isfinite(found.loss):
            raise self._diverged("validation loss", found.loss)
        return found

    def _diverged(self, name: str, value: float) -> UserError:
        rate, size = self.config.rate.peak, self.config.batch_size
        remedy = (
            f"try a learning_rate below {rate:g}, or a longer warmup (the paper's {PAPER_RATE} belongs to "
            f"{PAPER_BATCH} scans of a step; here there are {size})"
        )
        step = self.progress.step + 1
        return UserError(f"the {name} must be finite; got {value} in step {step}; {remedy}")

    def _state(self) -> TrainingState:
        live = {name: it.data for name, it in self.live.items()}
        kept = {
            f"{kind}/{name}": it for kind in ("best", "average") for name, it in getattr(self, kind).items()
        }
        return TrainingState(tensors={**live, **kept}, optimizers={"sgd": self.optimizer})

    def _save(self) -> None:
        save_checkpoint(self.checkpoint, self._state(), to_dict(self.progress))

    def _restore(self) -> None:
        with torch.random.fork_rng():  # a checkpoint brings torch's generators back; ours are seeded by place
            found = from_dict(SegmentationProgress, restore_checkpoint(self.checkpoint, self._state()))
        if found.fingerprint != self.progress.fingerprint:
            raise UserError(
                f"{self.checkpoint} must be of the same scans; they have changed; start over with overwrite"
            )
        self.progress = found
