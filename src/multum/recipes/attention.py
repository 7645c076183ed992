"""Recipes of `multum attention`."""

from pathlib import Path

from multum.attention import (
    AdaptConfig,
    EmbedConfig,
    EvaluateConfig,
    GenerateConfig,
    RecoveryConfig,
    RunConfig,
    ShowConfig,
    TokenSchedule,
)
from multum.attention.schedule import EMBEDDING_WINDOW
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
    """Sentiment of film reviews with half the tokens: fine-tuned through the pruning, with the dense model's help.

    The tokens whose absence moves the dense model least leave before the first layer.

    Command: `multum attention adapt glue_sst2 --recipe sst2_at_half`.
    Paper: SpAtten, Fig. 14 and section V-A: BERT on SST-2 after token pruning and fine-tuning, no loss.
    Expected: the loss against the dense model tuned the same way is `attention.sst2_loss_points_at_2x` in
    benchmarks/results/recovery.json; about an hour of one core, a third of it for the dense model's second
    epoch, which is there to compare.
    """
    return AdaptConfig(
        data=Path("glue_sst2"),
        task="classify",
        schedule=TokenSchedule(
            keep_ratios=(0.68, 0.68, 0.58, 0.48, 0.29, 0.19), spare_tokens=(), score="value"
        ),
        spare="absence",
        recovery=RecoveryConfig(
            loop=LoopConfig(num_epochs=1, batch_size=32, rate=LearningRate(peak=1e-4)), anneal_part=0.1
        ),
        compare=True,
    )


def stsb_at_two_thirds() -> AdaptConfig:
    """Likeness of short sentences with two thirds of their tokens: the hard case, tuned with the dense model's help.

    The third that goes is the commonest tokens, and it goes before the first layer.

    Command: `multum attention adapt stsb_en --recipe stsb_at_two_thirds`.
    Paper: SpAtten, section V-A: BERT on STS-B, no loss, with a head of its own instead of mean pooling.
    Expected: the loss against the dense model tuned the same way is `attention.stsb_tuned_loss_points_at_1p5x` in
    benchmarks/results/recovery.json, and the curve over epochs stands there too; about twenty minutes of one core.
    """
    return AdaptConfig(
        data=Path("stsb_en"),
        task="similarity",
        schedule=TokenSchedule(keep_ratios=(0.62,) * 6, spare_tokens=(), min_tokens=6),
        recovery=RecoveryConfig(
            loop=LoopConfig(num_epochs=3, batch_size=32, rate=LearningRate(peak=5e-5)),
            anneal_part=0.0,
            matrix_weight=0.1,
        ),
        compare=True,
    )


def passages_at_a_third() -> AdaptConfig:
    """Passage embeddings with a third of the tokens: the dense model teaches its pruned self on plain text, no label.

    The commonest tokens leave before the first layer.

    Command: `multum attention adapt wikitext2 --recipe passages_at_a_third`.
    Paper: none, SpAtten has no embeddings and always tunes on labels.
    Expected: the loss of R@1 on texts never seen is `attention.passages_r1_loss_points_at_3x` in
    benchmarks/results/recovery.json; about twenty minutes of one core.
    """
    return AdaptConfig(
        data=Path("wikitext2"),
        task="distill",
        schedule=TokenSchedule(
            keep_ratios=(0.4, *[0.315] * 5), spare_tokens=(), score="value", window=EMBEDDING_WINDOW
        ),
        recovery=RecoveryConfig(
            loop=LoopConfig(num_epochs=10, batch_size=16, rate=LearningRate(peak=2e-4)),
            anneal_part=0.0,
            matrix_weight=0.3,
        ),
        least_tokens=64,
    )


def a_third_of_the_tokens() -> RunConfig:
    """An encoder at a third of its tokens, with the workload that the accelerator would be fed.

    Command: `multum attention run MODEL --recipe a_third_of_the_tokens`.
    Paper: section V, a 3x token pruning gives up to 2.3x on BERT in software, in batches.
    Expected: MACs about 3x fewer on long texts. BERT-Base at 384 tokens, eight sentences at once, is timed by the suite
    benchmarks/suites/encoder.py: `attention.bert_base_384_b8_keep33_*`, and `attention.keep100_overhead` for what
    scoring costs when nothing is pruned.
    """
    return RunConfig(model=Path("MODEL"), keep_ratio=1 / 3, trace=Path("workload.csv"))


def all_four_dials() -> RunConfig:
    """Tokens, heads, values and bits of an encoder, all turned at once.

    Command: `multum attention run MODEL --recipe all_four_dials`.
    Paper: tokens and values 1.9x, heads 1.1x, static quantization of BERT; this asks a little more of each.
    Expected: six columns of falling counts, and an output that is near the dense one; a second for MiniLM.
    """
    return RunConfig(model=Path("MODEL"), keep_ratio=0.5, keep_heads=0.8, keep_values=0.5, bits=12)


def smollm2_perplexity() -> EvaluateConfig:
    """Perplexity of SmolLM2 with the default cache: every token, few bits, few value rows; windows of 1,024 tokens.

    Command: `multum attention evaluate WIKITEXT2 --recipe smollm2_perplexity`.
    Paper: 3.8x fewer tokens and 5.1x fewer bits on GPT-2, without loss of perplexity.
    Expected: both perplexities and how many times fewer bytes of cache a token reads; some minutes of one core. The
    curve over all settings is the suite benchmarks/suites/perplexity.py, with
    `attention.smollm2_bytes_saved_at_ppl_plus_1pct` and `attention.smollm2_bytes_vs_quantized_cache`.
    """
    return EvaluateConfig(data=Path("WIKITEXT2"), task="perplexity")


def smollm2_needle() -> EvaluateConfig:
    """A fact hidden at ten depths of 4,096 tokens: does the pruned cache still have it when the question comes?

    Command: `multum attention evaluate WIKITEXT2 --recipe smollm2_needle`.
    Paper: none; the paper measures perplexity, which hardly notices one lost sentence.
    Expected: recall of the dense and of the pruned model, and how many times fewer bytes the cache holds; about twenty
    minutes of one core. Beside SnapKV at equal bytes it is measured by the suite benchmarks/suites/needle.py
    (`attention.needle_4096_recall`).
    """
    return EvaluateConfig(data=Path("WIKITEXT2"), task="needle", window=4096, num_windows=10)


def a_quarter_of_the_cache() -> GenerateConfig:
    """A language model that writes with a quarter of its cache, keys read in 8 bits.

    Command: `multum attention generate "Why is the sea salt?" --recipe a_quarter_of_the_cache`.
    Paper: 3.8x fewer tokens on GPT-2, with 6 to 8 bits read.
    Expected: the text, and an order of magnitude fewer bytes read for each token once the prompt is long; short prompts
    are all within the 36 rows that are never pruned. It is the setting of
    `attention.decode_2048_keep25_msb8_vs_sdpa`, `attention.decode_8192_keep25_msb8_vs_sdpa` and
    `attention.decode_share_of_bandwidth` (benchmarks/suites/decode.py), where one layer is timed by itself.
    """
    return GenerateConfig(prompt="Why is the sea salt?", keep_ratio=0.25, msb_bits=8)


def few_bits_few_values() -> GenerateConfig:
    """The cache that costs about one percent of perplexity: every token, few bits, few value rows; the default.

    Command: `multum attention generate "Why is the sea salt?" --recipe few_bits_few_values`.
    Paper: progressive quantization and local value pruning of GPT-2, without its token pruning.
    Expected: the setting of `attention.generate_4096_vs_best_peer`, `attention.generate_4096_int8_vs_dynamic_int8` and
    `attention.generate_4096_vs_llama_cpp` (benchmarks/suites/generation.py), which time it at 4,096 tokens of context.
    """
    return GenerateConfig(prompt="Why is the sea salt?", schedule=Path("default"))


def prompt_at_half() -> GenerateConfig:
    """A prompt that is pruned on its way through the layers, to half of its tokens on average, and its cache with it.

    Command: `multum attention generate "Why is the sea salt?" --recipe prompt_at_half`.
    Paper: section III-A, the summarization stage; GPT-2 is measured in its generation stage only.
    Expected: half of the rows in layers that prune, and the time that `attention.prompt_1024_keep50_vs_sdpa` in
    benchmarks/results/generation.json says. Short prompts are all within the 36 rows that are never pruned.
    """
    return GenerateConfig(prompt="Why is the sea salt?", keep_ratio=0.5, prune_prompt=True)


def gpt2_medium_trace() -> GenerateConfig:
    """What the authors ran for their public trace, its workload written in their columns.

    Command: `multum attention generate TEXT --model GPT2_MEDIUM --recipe gpt2_medium_trace`.
    Paper: the public GPT-2-Medium workload of the authors: 992 tokens of WikiText-2, 32 generated.
    Expected: after a text of 992 tokens, the counts of every row of the trace (`attention.trace_rows_exact` in
    benchmarks/results/traces.json).
    """
    return GenerateConfig(
        prompt="TEXT", plain=True, max_new_tokens=33, schedule=Path("trace"), trace=Path("workload.csv")
    )


def everything_and_bits() -> GenerateConfig:
    """No row pruned, only bits: what the two planes alone cost and save.

    Command: `multum attention generate "Why is the sea salt?" --recipe everything_and_bits`.
    Paper: on average 5.9 % of the rows fetch the LSBs, which saves 5.1x against float32.
    Expected: about 3.6x fewer bytes read with 8 bits for keys and values, scales counted.
    """
    return GenerateConfig(prompt="Why is the sea salt?", keep_ratio=1.0, msb_bits=8)
