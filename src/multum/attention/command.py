"""What the command line's attention verbs do, as plain functions over frozen configurations."""

import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from multum.attention.adapted import AdaptedDials, adapted_schedule, load_encoder
from multum.attention.dials import EncoderDials, dials_turned
from multum.attention.word_fate import TextFate, trace_words
from multum.core import UserError, say, write_bytes_atomic
from multum.data import minilm_folder, read_lines

FROM_STANDARD_INPUT = "-"
SHOWN_KEEP_RATIO = 0.4
"""What `show` keeps when nobody says: little enough for words to go."""


@dataclass(frozen=True, kw_only=True)
class ShowConfig(AdaptedDials):
    """A text, and how much of it may stay; 0.4 in every layer but the first when no dial is turned."""

    text: str
    """The text; - reads it from standard input."""

    model: Path | None = None
    """Folder of a transformers encoder; all-MiniLM-L6-v2 when left alone."""

    tokens: bool = False
    """Show every token with its score after every layer, not the words that are left."""

    html: Path | None = None
    """Write a page with both pictures to this file."""


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(AdaptedDials):
    """A file of texts, and how they become vectors; nothing is pruned when no dial is turned."""

    file: Path
    """UTF-8 text file, one text on each line."""

    out: Path = Path("embeddings.npy")
    """Where to write the embeddings: an array of float32, one row of unit length for each text."""

    batch: int = 16
    """Texts at once."""

    model: Path | None = None
    """Folder of a transformers encoder; all-MiniLM-L6-v2 when left alone."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What `embed_file` wrote."""

    out: str
    """Where the array lies."""
    num_texts: int
    """Its rows."""
    width: int
    """Its columns."""
    token_reduction: float
    """Tokens of the dense model over tokens worked on."""


def show_text(config: ShowConfig) -> TextFate:
    """Tell the fate of every word of a text.

    Raises:
        UserError: As `trace_words`.
    """
    text = sys.stdin.read() if config.text == FROM_STANDARD_INPUT else config.text
    encoder = load_encoder(config.model or minilm_folder(), config)
    usual = replace(config, keep_ratio=SHOWN_KEEP_RATIO) if _says_nothing(config) else config
    length = len(encoder.tokenizer(text, verbose=False)["input_ids"])
    return trace_words(encoder, text, adapted_schedule(encoder.model, usual, length=length))


def embed_file(config: EmbedConfig) -> Embedded:
    """Embed the lines of a file and write them as a NumPy array, atomically.

    Raises:
        UserError: A bad file, text, ratio or batch size, or an output that does not end in `.npy`.
    """
    if config.out.suffix != ".npy":
        raise UserError(f"out must end in .npy; got {config.out.name!r}")
    texts = read_lines(config.file)
    encoder = load_encoder(config.model or minilm_folder(), config)
    schedule = (
        None if _says_nothing(config) else adapted_schedule(encoder.model, config, length=encoder.max_tokens)
    )
    say(f"embedding {len(texts)} texts")
    embeddings_TD, reduction = encoder.embed(texts, schedule=schedule, batch_size=config.batch)
    stream = io.BytesIO()
    np.save(stream, embeddings_TD.numpy().astype(np.float32))
    write_bytes_atomic(config.out, stream.getvalue())
    num_texts, width = embeddings_TD.shape
    return Embedded(out=str(config.out), num_texts=num_texts, width=width, token_reduction=reduction)


def _says_nothing(config: AdaptedDials) -> bool:
    """Whether neither a dial nor an adaptation says what to keep."""
    return config.adapted is None and not dials_turned(config, EncoderDials)
