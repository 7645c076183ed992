"""The parts of a page that show a training in little memory: its curves, and what a step of it takes."""

from typing import TYPE_CHECKING

from multum.cost.result import Cost
from multum.cost.units import DASH, format_ratio
from multum.report.blocks import Section, notes, paragraph, section, subsection
from multum.report.cost_plots import memory_timeline
from multum.report.figure import plot
from multum.report.markup import Html
from multum.report.number_text import format_percent, plural, tell_bytes, tell_count, tell_seconds
from multum.report.plots import bar_plot
from multum.report.tables import table
from multum.report.transfer_plots import training_curves
from multum.report.transfer_results import PART_NAMES, MemoryStory, TransferStory

if TYPE_CHECKING:
    import matplotlib.figure

TITLE = "Training in little memory"
MEMORY_TITLE = "Memory of a step"


def training_section(story: TransferStory) -> Section:
    """Tell a whole training in one section: what was learned, how it went, and what a step took.

    Args:
        story: The training.
    """
    blocks: list[Html] = [paragraph(tell_training(story), lead=True)]
    blocks += curve_blocks(story)
    if story.memory is not None:
        blocks.append(subsection(MEMORY_TITLE, *memory_blocks(story.memory)))
    return section(TITLE, *blocks)


def missing_training_section(note: str) -> Section:
    """Stand in the place of a training that could not be, and tell why.

    Args:
        note: What is missing, and how to get it.
    """
    return section(TITLE, paragraph(note))


def tell_training(story: TransferStory) -> str:
    """Tell what learned what from how much, and how well."""
    result = story.result
    took = f" It took {tell_seconds(story.seconds)}." if story.seconds is not None else ""
    early = ", stopped early" if result.stopped_early else ""
    share = format_percent(result.num_trained / (result.num_trained + result.num_frozen))
    return (
        f"{result.backbone} at {result.side} pixels learned {plural(len(result.classes), 'class', 'classes')} from "
        f"{plural(result.num_train, 'picture')} in {plural(result.num_epochs, 'epoch')}{early}, in the mode "
        f"{result.mode}: {tell_count(result.num_trained)} of its numbers train, {share}. It knows "
        f"{format_percent(result.test_accuracy, 1)} of {plural(result.test.num_pictures, 'picture')} that it was not "
        f"shown.{took}"
    )


def curve_blocks(story: TransferStory) -> list[Html]:
    """Draw the curves; nothing where no epoch was recorded."""
    if not story.epochs:
        return []
    result, first, last = story.result, story.epochs[0], story.epochs[-1]
    described = (
        f"Curves over {plural(last.epoch, 'epoch')}. The loss falls from {first.loss:.2f} to {last.loss:.2f}."
    )
    caption = (
        "The loss on what is learned from counts the smoothed labels, varied pictures and dropout of training; the one "
        "on the validation part does not, and can be lower."
    )
    if result.validation_accuracy is None:
        caption = "No validation part was kept, so the last epoch was taken."
    else:
        described += (
            f" Epoch {result.best_epoch} knows {format_percent(result.validation_accuracy, 1)} and is kept."
        )
    return [plot(training_curves(story.epochs, result.best_epoch), caption, described)]


def memory_blocks(memory: MemoryStory) -> list[Html]:
    """Draw the memory of a step beside the same step of stock layers: totals, parts, and both over time."""
    ours, stock = memory.ours, memory.stock
    fullest = max(ours.predicted_bytes, stock.predicted_bytes)
    told = tell_memory(memory)
    blocks: list[Html] = [paragraph(told), plot(*_totals(memory, told)), _parts_table(memory)]
    for reading in (ours, stock):
        if reading.timeline:
            caption = (
                f"{reading.name}: what is alive, operation by operation. Both drawings have the same height."
            )
            drawn = memory_timeline(Cost(name=reading.name, timeline=reading.timeline), full_bytes=fullest)
            at_most = tell_bytes(max(moment.live_bytes for moment in reading.timeline))
            blocks.append(
                plot(drawn, caption, f"Stacked areas of live memory, at most {at_most}. {reading.name}.")
            )
    return [*blocks, notes(memory_notes(memory))]


def tell_memory(memory: MemoryStory) -> str:
    """Tell how much a step takes, predicted and measured, beside stock."""
    ours, stock = memory.ours, memory.stock
    told = (
        f"One step ({memory.step}) takes {tell_bytes(ours.predicted_bytes)} at its fullest moment; {stock.name} takes "
        f"{tell_bytes(stock.predicted_bytes)}, {_ratio(stock.predicted_bytes, ours.predicted_bytes)} as much. "
        f"For the backward pass {tell_bytes(ours.kept_bytes)} of activations are kept, beside "
        f"{tell_bytes(stock.kept_bytes)}."
    )
    if ours.measured_growth_bytes is None or stock.measured_growth_bytes is None:
        return told
    return (
        f"{told} Measured in processes of their own, the step adds {tell_bytes(ours.measured_growth_bytes)} to what is "
        f"there before it, beside {tell_bytes(stock.measured_growth_bytes)}: "
        f"{_ratio(stock.measured_growth_bytes, ours.measured_growth_bytes)} less."
    )


def memory_notes(memory: MemoryStory) -> list[str]:
    """Tell how the numbers came about."""
    predicted = (
        "Predicted: the ruler counts every tensor that is alive while one step runs, and estimates the scratch memory "
        "of kernels. The parts are not all there at the same moment, so their sum is not the total."
    )
    measured = (
        "Measured: what is there before the step, and by how much a process of its own grows in it at most. The "
        "system counts what libraries take for themselves, too."
    )
    if memory.ours.measured_growth_bytes is None:
        measured = "Nothing was measured: only Linux tells how far a process grows."
    return [predicted, measured]


def _totals(memory: MemoryStory, told: str) -> tuple["matplotlib.figure.Figure", str, str]:
    values: dict[str, int] = {}
    for reading in (memory.ours, memory.stock):
        values[f"{reading.name}, predicted"] = reading.predicted_bytes
        if reading.measured_bytes is not None:
            values[f"{reading.name}, measured"] = reading.measured_bytes
    figure = bar_plot(
        values,
        written=[tell_bytes(value) for value in values.values()],
        emphasis=[name for name in values if name.startswith(f"{memory.ours.name}, ")],
    )
    return figure, "Most memory in a step, weights and optimizer included.", f"Bars of memory. {told}"


def _parts_table(memory: MemoryStory) -> Html:
    ours, stock = memory.ours, memory.stock
    rows = [[name, *_pair(getattr(ours, field), getattr(stock, field))] for field, name in PART_NAMES.items()]
    rows += [
        ["there before the step", *_pair(ours.resident_bytes, stock.resident_bytes)],
        ["at the fullest moment, predicted", *_pair(ours.predicted_bytes, stock.predicted_bytes)],
    ]
    if ours.measured_bytes is not None and stock.measured_bytes is not None:
        rows.append(["at the fullest moment, measured", *_pair(ours.measured_bytes, stock.measured_bytes)])
    strong = list(range(len(PART_NAMES) + 1, len(rows)))
    header = ["", ours.name, stock.name, "times less"]
    return table(header, rows, f"One step: {memory.step}.", emphasis=strong)


def _pair(ours: int, stock: int) -> list[str]:
    return [tell_bytes(ours), tell_bytes(stock), _ratio(stock, ours)]


def _ratio(stock: int, ours: int) -> str:
    return format_ratio(stock / ours) if ours and stock else DASH
