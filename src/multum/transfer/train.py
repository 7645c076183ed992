"""The training of an adapted network: steps, averages, judgement, and the parameters that were best.

No step lets one picture see another: norms keep their statistics, the loss is a sum over pictures, and all chance
(crop, flip, dropout) belongs to a picture and an epoch. So batches of 1 work, micro-batches have exactly the gradients
of the batch that they are cut from, and a training that was killed goes on bit for bit from its last checkpoint: all
that has to come back are tensors and a handful of numbers.

Source: TinyTL (NeurIPS 2020), section 4.1: Adam, cosine to 0, batches of 8.
Differs from the paper: the epoch is chosen on a validation part, where there is one.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from multum.core import UserError, from_dict, to_dict, track
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
from multum.transfer.fused_step import FusedStep
from multum.transfer.sample_dropout import sample_dropout
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_data import TransferData
from multum.transfer.train_parts import load_batch, make_optimizer, scores
from multum.transfer.train_progress import Progress


class Training:
    """A training, from its start or from its checkpoint.

    Args:
        model: The network; it is trained in place, in evaluation mode.
        classifier: Path of its last layer, which dropout hides a part from.
        data: The pictures.
        config: The dials.
        folder: Keeps the checkpoint and the metrics; a training that lies there is continued.

    Raises:
        UserError: The checkpoint there belongs to another training.
    """

    def __init__(
        self, model: nn.Module, classifier: str, data: TransferData, config: TransferConfig, folder: Path
    ) -> None:
        self.model = model.eval()  # no statistics of batches, no dropout but ours
        self.classifier = model.get_submodule(classifier)
        self.data, self.config = data, config
        self.parameters = {name: it for name, it in model.named_parameters() if it.requires_grad}
        self.optimizers = self._make_optimizers()
        self.best = copies(self.parameters)
        self.average = copies(self.parameters) if config.ema else {}
        num_train = len(data.split.train)
        self.plan = BatchPlan(
            lengths=(1,) * num_train,
            batch_size=config.batch_size,
            num_epochs=config.num_epochs,
            seed=config.seed,
        )
        self.progress = Progress(fingerprint=data.pictures.fingerprint)
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
        """Train to the end; the network has the best parameters then."""
        left = self.plan.num_steps - self.progress.step
        if not self.stops_early():
            for batch in track(self._batches_left(), "training", left):
                self._step(batch)
                if self.progress.step % self.plan.steps_per_epoch == 0:
                    self._end_epoch()
                    if self.stops_early():
                        break
                elif self.progress.step % self.config.checkpoint_steps == 0:
                    self._save()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.best[name])

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        if self.config.fuse_step:
            return FusedStep(self.parameters, lambda some: make_optimizer(some, self.config)).optimizers
        return {"optimizer": make_optimizer(self.parameters, self.config)}

    def _batches_left(self) -> Iterator[list[int]]:
        start = self.progress.step
        for epoch in range(start // self.plan.steps_per_epoch, self.plan.num_epochs):
            first = epoch * self.plan.steps_per_epoch
            yield from self.plan.epoch(epoch)[max(0, start - first) :]

    def _step(self, batch: Sequence[int]) -> None:
        samples = [self.data.split.train[place] for place in batch]
        rate = self.config.rate.at(self.progress.step, num_steps=self.plan.num_steps)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        for parameter in self.parameters.values():
            parameter.grad = None
        loss = self.gradients(samples, epoch=self.num_epochs)
        if not self.config.fuse_step:  # else the step is done
            self.optimizers["optimizer"].step()
        self.progress.step += 1
        self.progress.loss_sum += loss * len(samples)
        if self.config.ema:
            follow(self.average, self.parameters, self.config.ema, self.progress.step)

    def gradients(self, samples: Sequence[int], *, epoch: int) -> float:
        """Add the gradients of a batch to the parameters', micro-batch by micro-batch; or take the step, where fused.

        Args:
            samples: Numbers of its pictures.
            epoch: Number of the epoch, for the variation of the pictures.

        Returns:
            The loss, the mean over the batch.

        Raises:
            UserError: A loss that is not finite; nothing has moved then.
        """
        total = 0.0
        for start in range(0, len(samples), self.config.at_a_time):
            some = samples[start : start + self.config.at_a_time]
            with sample_dropout(
                self.classifier, self.config.dropout, some, epoch=epoch, seed=self.config.seed
            ):
                score_BK = self.model(load_batch(self.model, self.data.pictures, some, self.data.vary, epoch))
            label_B = torch.tensor(self.data.pictures.labels_of(some), device=score_BK.device)
            smoothing = self.config.label_smoothing
            loss = functional.cross_entropy(score_BK, label_B, label_smoothing=smoothing, reduction="sum")
            self._check(float(loss.detach()), "loss", epoch + 1)
            (loss / len(samples)).backward()
            total += float(loss.detach())
        return total / len(samples)

    def _end_epoch(self) -> None:
        epoch, progress = self.num_epochs, self.progress
        mean_loss = progress.loss_sum / len(self.data.split.train)
        record: dict[str, object] = {"step": progress.step, "epoch": epoch, "loss": mean_loss}
        judged = self.average or self.parameters
        accuracy = loss = None
        if self.data.split.validation:
            with holding(self.parameters, judged):
                accuracy, loss = self._validate()
            record |= {"validation_accuracy": accuracy, "validation_loss": loss}
        if progress.is_better(accuracy, loss):
            progress.best_epoch, progress.best_accuracy, progress.best_loss = epoch, accuracy, loss
            for name, tensor in judged.items():
                self.best[name].copy_(tensor.detach())
        progress.loss_sum = 0.0
        self.log.append(record)
        self._save()

    def _validate(self) -> tuple[float, float]:
        samples = self.data.split.validation
        score_NK = scores(self.model, self.data.pictures, samples, self.config.at_a_time)
        label_N = torch.tensor(self.data.pictures.labels_of(samples))
        loss = float(functional.cross_entropy(score_NK.double(), label_N))
        self._check(loss, "validation loss", self.num_epochs)
        return float((score_NK.argmax(dim=1) == label_N).double().mean()), loss

    def _check(self, loss: float, name: str, epoch: int) -> None:
        if not math.isfinite(loss):
            remedy = f"try a learning_rate below {self.config.rate.peak:g}"
            raise UserError(f"the {name} must be finite; got {loss} in epoch {epoch}; {remedy}")

    def _state(self) -> TrainingState:
        live = {name: it.data for name, it in self.parameters.items()}
        kept = {
            f"{kind}/{name}": it for kind in ("best", "average") for name, it in getattr(self, kind).items()
        }
        return TrainingState(tensors={**live, **kept}, optimizers=self.optimizers)

    def _save(self) -> None:
        save_checkpoint(self.checkpoint, self._state(), to_dict(self.progress))

    def _restore(self) -> None:
        with (
            torch.random.fork_rng()
        ):  # a checkpoint brings torch's generators back, which nothing here draws from
            found = from_dict(Progress, restore_checkpoint(self.checkpoint, self._state()))
        if found.fingerprint != self.data.pictures.fingerprint:
            raise UserError(
                f"{self.checkpoint} must be of the same pictures; they have changed; start over with overwrite"
            )
        self.progress = found
