"""How well a language model predicts a text while its cache is pruned, and how many bytes of cache that reads.

A generating model never sees its cache's losses in its own output: it just writes something else. So the text is given
(teacher forcing): a prompt is read at once, then the tokens that follow are fed one by one, as if the model had
written them, and each is scored before it is fed. Every score then comes from the pruned cache, as in generation, and
two caches can be compared token by token.

Shape legend: B windows of text, N tokens of a window, S tokens scored.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.decoders import find_decoder
from multum.attention.generation import GenerationRun, prune_generation
from multum.attention.kv_cache import SparseLayer
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import invalid
from multum.ops import decode_bytes_read

FLOAT32_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class TeacherForced:
    """Losses of given tokens, and the traffic of the cache while they were fed."""

    loss_BS: Float[Tensor, "B S"]
    """For every token scored its negative log-likelihood, in nats."""
    bytes_read_per_token: float
    """Bytes of the cache that one token reads, scales included, all layers together; mean over tokens and windows."""
    dense_bytes_per_token: float
    """The same of a float32 cache that keeps everything."""
    rows_read_share: float
    """Key rows read, as a part of all that a dense cache reads."""
    value_rows_share: float
    """Value rows read, as a part of the key rows read."""
    lsb_rate: float
    """Part of the rows of attention probabilities (heads x tokens x layers) that read the LSBs too."""

    @property
    def perplexity(self) -> float:
        """The exponential of the mean loss."""
        return float(self.loss_BS.double().mean().exp())

    @property
    def bytes_saved(self) -> float:
        """How many times fewer bytes than a dense float32 cache reads."""
        return self.dense_bytes_per_token / self.bytes_read_per_token


def teacher_forced(
    model: nn.Module,
    tokens_BN: Int[Tensor, "B N"],
    *,
    num_prompt: int,
    schedule: GenerationSchedule | CacheSchedule | None = None,
) -> TeacherForced:
    """Feed windows of text to a model, token by token after a prompt, and score every token after the prompt.

    Args:
        model: A transformers network that generates (see `decoders.py`), in evaluation mode.
        tokens_BN: Windows of one length, without padding.
        num_prompt: Tokens of each window that are not scored, at least 2. All but the last are read at once; the last
            is fed like a generated one, so that even the first score comes from the pruned cache.
        schedule: What the cache keeps, and in how many bits; None: the dense model, in one pass.

    Raises:
        UserError: No token is left to score; whatever `prune` refuses.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, **sizes)).eval()
    >>> half = CacheSchedule(keep_ratios=(0.5, 0.5), protect_first=1, grace_tokens=4)
    >>> scored = teacher_forced(model, torch.arange(40)[None], num_prompt=32, schedule=half)
    >>> tuple(scored.loss_BS.shape), round(scored.bytes_saved, 1)
    ((1, 8), 2.0)
    """
    if not 2 <= num_prompt < tokens_BN.shape[1]:
        raise invalid("num_prompt", f"from 2 to {tokens_BN.shape[1] - 1}, one less than a window", num_prompt)
    with torch.inference_mode():
        if schedule is None:
            return _dense(model, tokens_BN, num_prompt)
        with prune_generation(model, schedule) as run:
            return _pruned(model, tokens_BN, num_prompt, run)


def _dense(model: Any, tokens_BN: Tensor, num_prompt: int) -> TeacherForced:
    """One pass: causal attention makes it the same as token by token."""
    losses = []
    for tokens_N in tokens_BN:
        logits_SV = model(tokens_N[None], logits_to_keep=len(tokens_N) - num_prompt + 1).logits[0, :-1]
        losses.append(_loss(logits_SV, tokens_N[num_prompt:]))
    bytes_read = _dense_bytes(model, tokens_BN, num_prompt)
    return TeacherForced(
        loss_BS=torch.stack(losses),
        bytes_read_per_token=bytes_read,
        dense_bytes_per_token=bytes_read,
        rows_read_share=1.0,
        value_rows_share=1.0,
        lsb_rate=0.0,
    )


def _pruned(model: Any, tokens_BN: Tensor, num_prompt: int, run: GenerationRun) -> TeacherForced:
    cache, traffic = run.new_cache(), _Traffic()
    model(tokens_BN[:, : num_prompt - 1], past_key_values=cache, logits_to_keep=1)
    losses = []
    for step in range(num_prompt - 1, tokens_BN.shape[1] - 1):
        logits_BV = model(tokens_BN[:, step : step + 1], past_key_values=cache).logits[:, -1]
        losses.append(_loss(logits_BV, tokens_BN[:, step + 1]))
        for layer in cache.layers:
            traffic.add(layer)
    per_token = 1.0 / (len(tokens_BN) * len(losses))
    dense_bytes = _dense_bytes(model, tokens_BN, num_prompt)
    dense_rows = dense_bytes / (2 * find_decoder(model).head_width * FLOAT32_BYTES)
    return TeacherForced(
        loss_BS=torch.stack(losses, dim=1),
        bytes_read_per_token=traffic.bytes_read * per_token,
        dense_bytes_per_token=dense_bytes,
        rows_read_share=traffic.key_rows * per_token / dense_rows,
        value_rows_share=traffic.value_rows / traffic.key_rows,
        lsb_rate=traffic.flat_rows / traffic.rows,
    )


class _Traffic:
    """What the layers of a cache read, added up over steps."""

    def __init__(self) -> None:
        self.bytes_read = self.key_rows = self.value_rows = self.flat_rows = self.rows = 0

    def add(self, layer: SparseLayer) -> None:
        """Count a layer's latest step in."""
        result, key, value = layer.result, layer.key, layer.value
        assert result is not None
        assert key is not None
        assert value is not None
        count_B = layer.stage.count_B
        whole_BC = layer.tokens.whole_of(layer.number)
        self.bytes_read += decode_bytes_read(result, key, value, count_B, whole_BC=whole_BC)
        self.key_rows += int(count_B.sum()) * result.value_rows_BG.shape[1]
        self.value_rows += int(result.value_rows_BG.sum())
        self.flat_rows += int(result.flat_BH.sum())
        self.rows += result.flat_BH.numel()


def _loss(logits: Tensor, token: Tensor) -> Tensor:
    """Negative log-likelihood of tokens under logits."""
    return logits.float().logsumexp(-1) - logits.gather(-1, token[..., None])[..., 0].float()


def _dense_bytes(model: nn.Module, tokens_BN: Tensor, num_prompt: int) -> float:
    """Bytes that one token reads of a dense float32 cache, its own row included, on average."""
    num_scored = tokens_BN.shape[1] - num_prompt
    rows = num_prompt + (num_scored - 1) / 2
    return rows * find_decoder(model).num_layers * 2 * _row_width(model) * FLOAT32_BYTES


def _row_width(model: nn.Module) -> int:
    """Channels of a token's key in one layer, all key/value heads together."""
    decoder = find_decoder(model)
    return decoder.num_groups * decoder.head_width
