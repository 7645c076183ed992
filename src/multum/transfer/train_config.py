"""What `multum transfer train` can be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from multum.core import check_fields, invalid
from multum.training import LearningRate
from multum.transfer.lite_start import LiteStart
from multum.transfer.modes import Mode

Optimizer = Literal["adam", "sgd"]
"""What turns gradients into steps."""

DIGITS: Final = "digits"
"""The word for scikit-learn's handwritten digits, in the place of a folder."""

DataWish = Literal["digits"] | Path
"""The digits, or a folder of pictures."""

Flip = Literal["photographs", "always", "never"]
"""What is mirrored."""

START_RATES: dict[Optimizer, dict[Mode, float]] = {
    "adam": {"last": 3e-3, "norm+last": 1e-3, "bias": 3e-3, "lite": 1e-3, "lite+bias": 1e-3, "full": 2e-4},
    "sgd": {"last": 3e-2, "norm+last": 1e-2, "bias": 3e-2, "lite": 1e-2, "lite+bias": 1e-2, "full": 2e-3},
}
"""Learning rates to start from, for batches of 8. None is right for every data set: choose yours by validation."""


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Teach a network that knows ImageNet other classes, in little memory.

    Raises:
        UserError: A value outside its range.
    """

    data: DataWish
    """Folder with a sub-folder of pictures for each class (or train/, val/, test/ with these inside); or the word
    digits. A folder of that name is given by its whole path."""

    backbone: str = "efficientnet-lite0"
    """Network to start from, a name that `multum.backbones.make_backbone` knows."""

    pretrained: bool = True
    """Start from ImageNet weights; else from random ones, which is for trying things out."""

    mode: Mode = "lite+bias"
    """What trains."""

    lite_start: LiteStart | None = None
    """How lite residuals start: what is 0 at first, and whether their first norms are measured on pictures; the best
    one known when left alone."""

    lite_weights: Path | None = None
    """Lite residuals to start from instead, a file of `multum transfer pretrain-lite` for the same backbone; fresh ones
    when left alone."""

    side: int | None = None
    """Height and width of what the network sees, in pixels; as it was published when left alone."""

    num_epochs: int = 50
    """How often each picture is seen."""

    batch_size: int = 8
    """Pictures of a step."""

    micro_batch: int | None = None
    """So many of them go through the network at a time: less memory, the same gradients. All when left alone."""

    num_blocks: int | None = None
    """So many of the last blocks train, and what follows them: less memory and time, less learned; all when left
    alone."""

    recompute: bool = False
    """Keep the input of each block alone, and compute the rest again in backward: less memory, the same gradients, a
    third more time."""

    few_kernels: bool = False
    """Mix channels by torch's own products, which need no code for each shape: tens of megabytes less, on some
    processors slower."""

    int8: bool = False
    """Hold the frozen weights in a byte each, the means of norms moved as rounding moves them: a third of the network's
    memory; not where everything trains."""

    fuse_step: bool = False
    """Let each parameter take its step as soon as its gradient is there, and forget the gradient; for batches that are
    not cut."""

    optimizer: Optimizer = "adam"
    """Adam, or gradient descent with momentum."""

    learning_rate: float | None = None
    """The largest rate, which falls to 0 along half a cosine; by mode and optimizer when left alone."""

    warmup: float = 0.1
    """Part of the steps in which the rate rises in a line first, in [0, 1); the paper has none. Without it lite
    residuals blow up at rates three times lower."""

    momentum: float = 0.9
    """Of gradient descent, in [0, 1)."""

    weight_decay: float = 0.0
    """Pulls matrices towards 0, in steps of their own with Adam; at least 0."""

    label_smoothing: float = 0.1
    """Part of the target that is spread over all classes, in [0, 1); the paper: 0.7 where classes are alike."""

    dropout: float = 0.2
    """Part of the features that the classifier does not see while it learns, in [0, 1)."""

    ema: float | None = None
    """Average the trained parameters over the steps, this part of the average kept in each, in (0, 1), and judge and
    keep the average; no average when left alone."""

    early_stop: int | None = None
    """Stop after so many epochs without progress on the validation part; never when left alone."""

    validation: float = 0.1
    """Share of each class to choose the epoch by, in [0, 1), where the folder has no such part; with 0 the last epoch
    is taken."""

    test: float = 0.1
    """Share of each class to report on, in (0, 1), where the folder has no such part."""

    num_train: int | None = None
    """Learn from so many pictures of each class, drawn by the seed; all that are not held out when left alone."""

    crop_scale: tuple[float, float] | None = None
    """Smallest and largest part of a picture's area that is shown in training; 0.22 1 for photographs and 0.6 1 for
    digits when left alone."""

    flip: Flip = "photographs"
    """Whether every second picture is mirrored in training: photographs and not digits, always, or never."""

    colour_jitter: float = 0.0
    """How far brightness, contrast and saturation stray from 1 in training; at least 0."""

    budget_mb: float | None = None
    """Train in so many megabytes beside the program itself: mode, blocks and side become less where they must, and
    batches are cut; what was asked for when left alone."""

    hard_limit: bool = False
    """Let the system refuse memory beyond the budget, and what libraries reserve and never touch: a training that
    wants more ends with an error. Linux only."""

    cache_bytes: int = 2**30
    """Bytes of decoded pictures that are kept; 0 decodes anew each time."""

    skip_broken: bool = False
    """Leave pictures out that cannot be read, and list them, instead of ending."""

    checkpoint_steps: int = 200
    """A checkpoint is written after so many steps, and after every epoch."""

    seed: int = 0
    """Of the parts, the order, the variation, and of fresh weights."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.data == Path(DIGITS):
            object.__setattr__(
                self, "data", DIGITS
            )  # JSON and the command line cannot tell them apart either
        _check_counts(self)
        _check_parts(self)
        _check_lite(self)
        if self.budget_mb is not None and not self.budget_mb > 0:
            raise invalid("budget_mb", "positive", self.budget_mb)
        if self.hard_limit and self.budget_mb is None:
            raise invalid("budget_mb", "given where hard_limit is", None)
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise invalid("learning_rate", "positive", self.learning_rate)
        if self.early_stop is not None and self.validation == 0:
            raise invalid("early_stop", "None without a validation part", self.early_stop, "set validation")

    @property
    def rate(self) -> LearningRate:
        """The learning rate, step by step."""
        peak = self.learning_rate or START_RATES[self.optimizer][self.mode]
        return LearningRate(peak=peak, warmup_part=self.warmup, decay="cosine")

    @property
    def at_a_time(self) -> int:
        """Pictures that go through the network at a time."""
        return self.micro_batch or self.batch_size

    @property
    def is_of_digits(self) -> bool:
        """Whether the data are the digits."""
        return self.data == DIGITS


def _check_counts(config: TransferConfig) -> None:
    for name in ("side", "num_epochs", "batch_size", "micro_batch", "early_stop", "num_train"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise invalid(name, "at least 1", value)
    for name in ("num_threads", "checkpoint_steps"):
        if getattr(config, name) < 1:
            raise invalid(name, "at least 1", getattr(config, name))
    for name in ("weight_decay", "colour_jitter", "cache_bytes"):
        if getattr(config, name) < 0:
            raise invalid(name, "at least 0", getattr(config, name))
    if config.num_blocks is not None and config.num_blocks < 0:
        raise invalid("num_blocks", "at least 0", config.num_blocks)
    if config.fuse_step and config.at_a_time < config.batch_size:
        raise invalid("fuse_step", "False where batches are cut into micro-batches", config.fuse_step)
    if config.int8 and config.mode == "full":
        raise invalid("int8", "False in mode full, in which nothing is frozen", config.int8)
    if config.micro_batch is not None and config.micro_batch > config.batch_size:
        raise invalid("micro_batch", f"at most batch_size, {config.batch_size}", config.micro_batch)


def _check_parts(config: TransferConfig) -> None:
    for name in ("momentum", "warmup", "label_smoothing", "dropout", "validation"):
        if not 0 <= getattr(config, name) < 1:
            raise invalid(name, "in [0, 1)", getattr(config, name))
    if not 0 < config.test < 1:
        raise invalid("test", "in (0, 1)", config.test, "what was learned from or chosen by proves nothing")
    if config.ema is not None and not 0 < config.ema < 1:
        raise invalid("ema", "in (0, 1)", config.ema)
    if config.crop_scale is not None and not 0 < config.crop_scale[0] <= config.crop_scale[1] <= 1:
        raise invalid("crop_scale", "two ascending parts in (0, 1]", config.crop_scale)


def _check_lite(config: TransferConfig) -> None:
    if config.lite_weights is not None and "lite" not in config.mode:
        raise invalid("lite_weights", f"None in mode {config.mode}", config.lite_weights, "choose lite+bias")
    if config.lite_weights is not None and config.lite_start is not None:
        raise invalid(
            "lite_start", "None where lite_weights are given", config.lite_start, "give one of them"
        )
