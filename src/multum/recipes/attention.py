"""Recipes of `multum attention`."""

from pathlib import Path

from multum.attention import AdaptConfig, EmbedConfig, RecoveryConfig, ShowConfig, TokenSchedule, embedding_schedule
from multum.demo import PAPER_SENTENCE
from multum.training import LearningRate, LoopConfig


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


def sst2_at_half() -> AdaptConfig:
    """Sentiment of film reviews with half the tokens: fine-tuned through the pruning, [CLS], a tail of few tokens.

    Command: `multum attention adapt glue_sst2 --recipe sst2_at_half`.
    Paper: SpAtten, Fig. 14 and section V-A: BERT on SST-2 after token pruning and fine-tuning, no loss.
    Expected: the loss against the dense model tuned the same way is `attention.sst2_loss_points_at_2x` in
    benchmarks/results/recovery.json; about ten minutes of one core for 12,000 of the 67,349 phrases.
    """
    return AdaptConfig(
        data=Path("glue_sst2"),
        task="classify",
        schedule=TokenSchedule(keep_ratios=(1.0, 1.0, 0.5, 0.2, 0.1, 0.05)),
        recovery=RecoveryConfig(
            loop=LoopConfig(num_epochs=2, batch_size=32, rate=LearningRate(peak=1e-4)), anneal_part=0.2
        ),
        num_texts=12_000,
    )


def stsb_at_two_thirds() -> AdaptConfig:
    """Likeness of short sentences with two thirds of their tokens: the hard case, tuned with the dense model's help.

    Command: `multum attention adapt stsb_en --recipe stsb_at_two_thirds`.
    Paper: SpAtten, section V-A: BERT on STS-B, no loss, with a head of its own instead of mean pooling.
    Expected: the loss against the dense model tuned the same way is `attention.stsb_tuned_loss_points_at_1p5x` in
    benchmarks/results/recovery.json, and the curve over epochs stands there too; about twenty minutes of one core.
    """
    return AdaptConfig(
        data=Path("stsb_en"),
        task="similarity",
        schedule=TokenSchedule(keep_ratios=(1.0, 1.0, 0.65, 0.5, 0.4, 0.3), min_tokens=4, score="value"),
        recovery=RecoveryConfig(
            loop=LoopConfig(num_epochs=4, batch_size=32, rate=LearningRate(peak=5e-5)),
            anneal_part=0.3,
            teacher_weight=1.0,
            matrix_weight=0.1,
        ),
    )


def passages_at_a_third() -> AdaptConfig:
    """Passage embeddings with a third of the tokens: the dense model teaches its pruned self on plain text, no label.

    Command: `multum attention adapt wikitext2 --recipe passages_at_a_third`.
    Paper: none, SpAtten has no embeddings and always tunes on labels.
    Expected: the loss of R@1 on texts never seen is `attention.passages_r1_loss_points_at_3x` in
    benchmarks/results/recovery.json; about twenty minutes of one core.
    """
    return AdaptConfig(
        data=Path("wikitext2"),
        task="distill",
        schedule=embedding_schedule(6, 0.195),
        recovery=RecoveryConfig(
            loop=LoopConfig(num_epochs=10, batch_size=16, rate=LearningRate(peak=2e-4)),
            anneal_part=0.0,
            matrix_weight=0.1,
        ),
        least_tokens=50,
    )
