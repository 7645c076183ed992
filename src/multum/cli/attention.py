"""`multum attention show TEXT` and `multum attention embed FILE`: token pruning on a text of the user's own."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multum.attention import SentenceEncoder, TextFate, TokenSchedule, embedding_schedule, trace_words
from multum.cli.verb import Outcome, Verb
from multum.core.errors import UserError
from multum.core.files import write_bytes_atomic
from multum.core.progress import say
from multum.data import minilm_folder, read_lines

FROM_STANDARD_INPUT = "-"

PRUNED_WORD = "·"
"""What stands in the place of a word that is gone."""


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """A text, and how much of it may stay."""

    text: str
    """The text; - reads it from standard input."""

    keep_ratio: float = 0.4
    """Part of the tokens that every layer but the first keeps, in (0, 1]."""

    model: Path | None = None
    """Folder of a transformers encoder; all-MiniLM-L6-v2 when left alone."""


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """A file of texts, and how they become vectors."""

    file: Path
    """UTF-8 text file, one text on each line."""

    out: Path = Path("embeddings.npy")
    """Where to write the embeddings: an array of float32, one row of unit length for each text."""

    keep_ratio: float = 1.0
    """Part of the tokens that every layer but the first keeps, in (0, 1]; 1 prunes nothing."""

    batch: int = 16
    """Texts at once."""

    model: Path | None = None
    """Folder of a transformers encoder; all-MiniLM-L6-v2 when left alone."""


def _show(options: ShowOptions) -> Outcome:
    text = sys.stdin.read() if options.text == FROM_STANDARD_INPUT else options.text
    encoder = SentenceEncoder.load(options.model or minilm_folder())
    fate = trace_words(encoder, text, _schedule(encoder, options.keep_ratio))
    result = {
        "tokens_per_layer": list(fate.tokens_per_layer),
        "words": [
            {"text": word.text, "last_layer": word.last_layer, "importance": list(word.importance)}
            for word in fate.words
            if not word.is_special
        ],
    }
    return Outcome(result=result, text=fading_text(fate))


def fading_text(fate: TextFate) -> str:
    """Tell the fate of a text in lines, one for each layer that starts with fewer words than the one before.

    Args:
        fate: What `trace_words` found.

    Returns:
        The lines; a word that is gone is a dot.
    """
    words = [word for word in fate.words if not word.is_special]
    lines, before = [], -1
    for layer, num_tokens in enumerate(fate.tokens_per_layer, start=1):
        if num_tokens == before:
            continue
        before = num_tokens
        left = " ".join(word.text if word.last_layer >= layer else PRUNED_WORD for word in words)
        lines.append(f"layer {layer}, {num_tokens} tokens: {left}")
    dense = len(fate.tokens_per_layer) * fate.tokens_per_layer[0]
    return "\n".join([*lines, f"token reduction {dense / sum(fate.tokens_per_layer):.2f}x"])


def _embed(options: EmbedOptions) -> Outcome:
    if options.out.suffix != ".npy":
        raise UserError(f"out must end in .npy; got {options.out.name!r}")
    texts = list(read_lines(options.file))
    encoder = SentenceEncoder.load(options.model or minilm_folder())
    schedule = None
    if options.keep_ratio != 1:
        schedule = _schedule(encoder, options.keep_ratio)
    say(f"embedding {len(texts)} texts")
    embeddings_TD, reduction = encoder.embed(texts, schedule=schedule, batch_size=options.batch)
    stream = io.BytesIO()
    np.save(stream, embeddings_TD.numpy().astype(np.float32))
    write_bytes_atomic(options.out, stream.getvalue())
    num_texts, width = embeddings_TD.shape
    result = {"out": str(options.out), "num_texts": num_texts, "width": width, "token_reduction": reduction}
    text = f"wrote {num_texts} embeddings of width {width} to {options.out}; token reduction {reduction:.2f}x"
    return Outcome(result=result, text=text)


def _schedule(encoder: SentenceEncoder, keep_ratio: float) -> TokenSchedule:
    return embedding_schedule(int(encoder.model.config.num_hidden_layers), keep_ratio)


SHOW = Verb(options=ShowOptions, execute=_show)
EMBED = Verb(options=EmbedOptions, execute=_embed)
