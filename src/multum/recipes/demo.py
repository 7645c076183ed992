"""Recipes of `multum demo`."""

from multum.demo import DemoConfig


def minilm_passages() -> DemoConfig:
    """The main job in full: all-MiniLM-L6-v2 on the 72 bundled passages, four keep ratios beside the dense model.

    Command: `multum demo --recipe minilm_passages`.
    Paper: SpAtten prunes no embeddings; its Fig. 1 (11 tokens, then 6, then 2) is the picture that the report draws.
    Expected: a retrieval table that a flat schedule hardly hurts and the paper's linear rule ruins; SmolLM2 writing
    with a cache that shrinks; EfficientNet-Lite0 learning digits in a quarter of the memory; about five minutes on one
    core.
    """
    return DemoConfig()


def quick() -> DemoConfig:
    """The same report from fewer measurements, for a first look: one keep ratio, four timed passages.

    Command: `multum demo --recipe quick --out runs/quick`.
    Paper: as for `minilm_passages`.
    Expected: about a minute and a half on one core; times with a wide spread.
    """
    return DemoConfig(
        keep_ratios=(0.4,),
        num_pictures=2,
        num_timed_passages=4,
        num_rounds=5,
        num_prompt_passages=1,
        num_new_tokens=48,
        num_training_epochs=4,
    )
