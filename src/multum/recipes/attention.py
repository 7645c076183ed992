"""Recipes of `multum attention`."""

from pathlib import Path

from multum.attention import EmbedConfig, ShowConfig
from multum.demo import PAPER_SENTENCE


def half_the_tokens() -> EmbedConfig:
    """Embed a file with half the tokens: flat at 0.4 after the first of MiniLM's six layers.

    Command: `multum attention embed texts.txt --recipe half_the_tokens`.
    Paper: none, SpAtten has no embeddings.
    Expected: a token reduction of 2.0 on long texts; benchmarks/results/frame.json has time and retrieval loss.
    """
    return EmbedConfig(file=Path("texts.txt"), keep_ratio=0.4)


def fig_1() -> ShowConfig:
    """The sentence of the paper's Fig. 1, losing its words.

    Command: `multum attention show "As a visual treat, the film is almost perfect." --recipe fig_1`.
    Paper: 11 tokens, then 6, then 2 ("film perfect") on BERT fine-tuned for sentiment; MiniLM was never trained to
    judge films and keeps other words.
    Expected: 13 tokens, then 4; a second.
    """
    return ShowConfig(text=PAPER_SENTENCE, keep_ratio=0.3)
