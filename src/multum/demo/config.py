"""What `multum demo` can be told."""

from dataclasses import dataclass
from pathlib import Path

from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """The dials of the main job.

    Raises:
        UserError: No keep ratio, one outside (0, 1), or a count below its minimum.
    """

    data: Path | None = None
    """Folder of STS-B (train.csv, dev.csv, test.csv), to say what pruning costs on short sentences there."""

    model: Path | None = None
    """Folder of a transformers encoder for mean-pooled embeddings; all-MiniLM-L6-v2 when left alone."""

    keep_ratios: tuple[float, ...] = (0.7, 0.5, 0.4, 0.3)
    """Parts of the tokens to keep after the first layer, each in (0, 1); the report compares them."""

    shown_keep_ratio: float = 0.4
    """The ratio that the pictures, the cost table and the times are made with; in (0, 1)."""

    num_pictures: int = 4
    """How many passages are shown losing their words; at least 1."""

    num_timed_passages: int = 24
    """How many passages a timed round embeds; at least 1."""

    num_rounds: int = 7
    """Timed rounds of each peer; at least 5."""

    language_model: Path | None = None
    """Folder of a language model, or a GGUF file; SmolLM2-135M-Instruct when left alone."""

    num_prompt_passages: int = 4
    """How many passages the language model reads before it writes; 0 leaves the generation out."""

    num_new_tokens: int = 96
    """How many tokens it writes; at least 2."""

    num_training_epochs: int = 7
    """How often a network sees the digits that it learns in little memory; 0 leaves the training out."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        if not self.keep_ratios:
            raise invalid("keep_ratios", "at least one ratio in (0, 1)", self.keep_ratios)
        for ratio in (*self.keep_ratios, self.shown_keep_ratio):
            if not 0 < ratio < 1:
                raise invalid("keep ratio", "in (0, 1)", ratio, "the dense model is always compared")
        for name, least in (
            ("num_pictures", 1),
            ("num_timed_passages", 1),
            ("num_rounds", 5),
            ("num_prompt_passages", 0),
            ("num_new_tokens", 2),
            ("num_training_epochs", 0),
            ("num_threads", 1),
        ):
            if getattr(self, name) < least:
                raise invalid(name, f"at least {least}", getattr(self, name))
