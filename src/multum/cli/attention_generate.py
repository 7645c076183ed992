"""`multum attention generate PROMPT`: a language model writes, and its cache is pruned meanwhile."""

import sys

from multum.attention import GenerateConfig, Generated, generate_text
from multum.cli.accelerator_reading import reading_table
from multum.cli.verb import Outcome, Verb
from multum.core.config import to_dict
from multum.cost.units import Number, format_bytes, format_ratio


def _generate(config: GenerateConfig) -> Outcome:
    from rich.console import Group

    done = generate_text(config)
    text: object = told(done, shows_text=not _was_read_already(config))
    if done.accelerator is not None:
        text = Group(str(text), "", reading_table(done.accelerator))
    return Outcome(result=to_dict(done), text=text)


def _was_read_already(config: GenerateConfig) -> bool:
    """Whether the text stood on the same terminal while it was written."""
    screen = sys.__stdout__
    return config.beams == 1 and screen is not None and screen.isatty() and sys.stderr.isatty()


def told(done: Generated, *, shows_text: bool) -> str:
    """Tell the text and what it cost in lines.

    Args:
        done: What `generate_text` found.
        shows_text: Whether the text itself is among them.

    Returns:
        The lines.
    """
    read, dense = done.bytes_read_per_token, done.dense_bytes_read_per_token
    speed = done.num_new_tokens / done.seconds
    lines = [
        f"{done.num_new_tokens} tokens after {done.num_prompt_tokens}, {speed:.1f} tokens a second",
        f"cache read for a token: {_beside(read, dense)}",
        f"cache held at the end:  {_beside(done.bytes_held, done.dense_bytes_held)}",
        f"rows by layer:          {rows_told(done.rows)}",
    ]
    if done.lsb_rates:
        lines.append(f"rows that fetched LSBs: {done.lsb_rate:.1%}")
    if done.trace is not None:
        lines.append(f"wrote {done.trace}")
    return "\n".join([*([done.text.strip(), ""] if shows_text else []), done.schedule, *lines])


def rows_told(rows: tuple[int, ...], most: int = 6) -> str:
    """Tell the rows of a few layers, evenly from the first to the last.

    >>> rows_told((9, 8, 7, 6, 5, 4, 3, 2), 3)
    'layer 1: 9, layer 5: 5, layer 8: 2'
    """
    last = len(rows) - 1
    chosen = sorted({round(place * last / (most - 1)) for place in range(most)})
    return ", ".join(f"layer {layer + 1}: {rows[layer]}" for layer in chosen)


def _beside(ours: Number, dense: Number) -> str:
    less = f", {format_ratio(dense / ours)} less" if ours and dense else ""
    return f"{format_bytes(ours)}; dense {format_bytes(dense)}{less}"


GENERATE = Verb(options=GenerateConfig, execute=_generate, recipes="attention")
