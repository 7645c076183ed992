"""A network that knows ImageNet learns handwritten digits in little memory, and a step of it is put on the scale."""

import time
from pathlib import Path

from multum.core import MissingExtraError, UserError, say
from multum.core.run import RUN_FILE
from multum.report.number_text import plural
from multum.report.transfer_results import MemoryStory, StepReading, TransferStory
from multum.report.transfer_run import read_epochs, write_transfer_report
from multum.transfer import TransferConfig, train_transfer
from multum.transfer.step_growth import step_growth, training_step
from multum.transfer.step_memory import stock_config
from multum.transfer.train_command import ADAPTED_FILE

SIDE = 96
"""Pixels; the digits themselves have 8 x 8."""
NUM_TRAIN = 10
"""Pictures of each digit to learn from."""
VALIDATION_PART, TEST_PART = 0.03, 0.1
"""Of each digit: to choose the epoch by, and to report on."""


def demo_training(num_epochs: int, num_threads: int) -> TransferConfig:
    """The training of the demo: few pictures, so that it takes half a minute.

    Args:
        num_epochs: How often each picture is seen.
        num_threads: Threads that torch computes with.
    """
    return TransferConfig(
        data="digits",
        mode="lite+bias",
        side=SIDE,
        num_epochs=num_epochs,
        num_train=NUM_TRAIN,
        validation=VALIDATION_PART,
        test=TEST_PART,
        dropout=0.0,
        num_threads=num_threads,
    )


def measure_transfer(config: TransferConfig, folder: Path, *, overwrite: bool = False) -> TransferStory:
    """Train, put a step on the scale beside full fine-tuning of stock layers, and write the training's own report.

    Args:
        config: The training.
        folder: Its run folder; a training that was interrupted there is continued.
        overwrite: Start anew instead.

    Raises:
        MissingExtraError: The weights of the network or the digits are not installed.
    """
    is_new = overwrite or not (folder / RUN_FILE).exists()
    start = time.perf_counter()
    result = train_transfer(config, folder, resume=not overwrite, overwrite=overwrite)
    seconds = time.perf_counter() - start
    memory = measure_memory(config, len(result.classes))
    say(f"the training's own report: {write_transfer_report(folder, memory=memory)}")
    return TransferStory(
        result=result,
        epochs=read_epochs(folder),
        memory=memory,
        adapted_bytes=(folder / ADAPTED_FILE).stat().st_size,
        seconds=seconds if is_new else None,
    )


def measure_memory(config: TransferConfig, num_classes: int) -> MemoryStory:
    """Predict and measure the memory of a step: of a training, and of full fine-tuning of the plain network.

    Args:
        config: The training.
        num_classes: Of its task.
    """
    say("predicting and measuring the memory of a step")
    side = f"{config.side} x {config.side} pixels" if config.side else "the size it was published with"
    return MemoryStory(
        step=f"{plural(config.at_a_time, 'picture')} of {side}, {config.optimizer.capitalize()}",
        ours=_reading(config, num_classes, config.mode, is_stock=False),
        stock=_reading(stock_config(config), num_classes, "full fine-tuning of stock layers", is_stock=True),
    )


def missing_weights(missing: MissingExtraError) -> str:
    """Tell in the report that nothing was trained, and how to have it next time.

    Args:
        missing: What is not installed.
    """
    return f"Nothing was trained: {missing}; then start the demo anew with --overwrite."


def _reading(config: TransferConfig, num_classes: int, name: str, *, is_stock: bool) -> StepReading:
    cost = training_step(config, num_classes, is_stock=is_stock).cost(name)
    try:
        grown = step_growth(config, num_classes, is_stock=is_stock)
    except UserError as problem:  # the prediction stands without it
        say(f"not measured: {problem}")
        grown = None
    return StepReading.of(cost, name=name, measured_growth_bytes=grown)
