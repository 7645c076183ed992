"""What heads and values save an encoder on a CPU, beside the dense model with the same linear layers.

Heads are really not computed, so that time follows the multiply-adds, as long as a batch is large enough to pay for
picking the weights. Values are only set to zero: in an encoder every value row is wanted by some query, and one dense
product of all of them is cheaper than choosing. That row is here to show what it costs, not to win.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.baselines import OURS, SAME_LINEARS
from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check
from multum.attention import EncoderSchedule, HeadSchedule, ValueSchedule, prune
from multum.attention.reference import masked_dense
from multum.cost import Latency, measure
from multum.ops import fast_linears

NUM_LAYERS = 12
HEADS = EncoderSchedule(heads=HeadSchedule(keep_ratios=(1.0,) * 4 + (0.5,) * 8))
"""The first third of the layers computes all twelve heads, the others six."""
VALUES = EncoderSchedule(values=ValueSchedule(keep_ratios=(0.3,) * NUM_LAYERS))
"""Every query multiplies three value rows of ten."""
HEADS_TOLERANCE = 2e-4
"""Hidden states of order one after twelve layers in float32."""
VALUES_TOLERANCE = 2e-2
"""Two probabilities that are equal but for rounding may change places: one small value row against another."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A BERT-Base of random weights, a batch without padding, and what is spared."""

    model: Any
    """The model, dense under SDPA outside a block."""
    tokens: torch.Tensor
    """Token ids."""
    schedule: EncoderSchedule
    """The dial."""
    allowed: float
    """How far the result may be from the masked dense twin."""

    def forward(self, *, dense: bool) -> torch.Tensor:
        """Last hidden states, with fast linear layers."""
        with torch.inference_mode(), fast_linears(self.model):
            if dense:
                return self.model(self.tokens).last_hidden_state  # type: ignore[no-any-return]
            with prune(self.model, self.schedule):
                return self.model(self.tokens).last_hidden_state  # type: ignore[no-any-return]


def _problem(setting: Setting, schedule: EncoderSchedule, batch: int, length: int, allowed: float) -> Problem:
    from transformers import BertConfig, BertModel

    torch.manual_seed(setting.seed)
    config = BertConfig(initializer_range=0.06, attn_implementation="sdpa")
    model = BertModel(config, add_pooling_layer=False).eval()
    shape = (min(batch, 2) if setting.quick else batch, length)
    tokens = torch.randint(1000, config.vocab_size, shape, generator=setting.generator())
    return Problem(model=model, tokens=tokens, schedule=schedule, allowed=allowed)


def _check(problem: Problem) -> Check:
    """The first sentence inside its batch against the masked dense twin: the same heads, the same states."""
    with torch.inference_mode():
        twin = masked_dense(problem.model, problem.tokens[0], problem.schedule)
        with prune(problem.model, problem.schedule) as run:
            ours = problem.model(problem.tokens).last_hidden_state[0]
    if [tuple(layer.head_BK[0].tolist()) for layer in run.heads] != list(twin.heads):
        return Check.holds(False, "the living heads are not those of the masked dense twin")
    return Check.close(ours, twin.hidden_ND, allowed=problem.allowed)


def _run(problem: Problem, setting: Setting) -> Mapping[str, Latency | float]:
    dense = measure(problem.model, (problem.tokens,), latency=False)
    with prune(problem.model, problem.schedule) as run:
        pruned = measure(problem.model, (problem.tokens,), latency=False)
    times = setting.times(
        {SAME_LINEARS: lambda: problem.forward(dense=True), OURS: lambda: problem.forward(dense=False)}
    )
    rows = sum(sum(record.num_values) for record in run.records)
    return {
        **times,
        "mac_reduction": dense.macs / pruned.macs,
        "value_rows_per_query_reduction": NUM_LAYERS * problem.tokens.numel() / rows,
    }


def _case(
    name: str,
    about: str,
    schedule: EncoderSchedule,
    batch: int,
    length: int,
    allowed: float = HEADS_TOLERANCE,
) -> Case:
    return Case(
        name=name,
        about=f"BERT-Base, {batch} x {length} tokens, {about}, one thread",
        prepare=lambda setting: _problem(setting, schedule, batch, length, allowed),
        check=_check,
        run=_run,
        ours=OURS,
        peers=(SAME_LINEARS,),
    )


SUITE = Suite(
    name="dials",
    about="Heads and values of an encoder on a CPU: what each dial saves beside the dense model",
    cases=(
        _case("heads_half_b8_128", "half the heads of the last eight layers", HEADS, 8, 128),
        _case("heads_half_b1_16", "half the heads of the last eight layers", HEADS, 1, 16),
        _case("values_30_b8_128", "three value rows of ten", VALUES, 8, 128, VALUES_TOLERANCE),
    ),
    figures=(
        Figure(
            id="dials.heads_half_b8_128_share_of_mac_ratio",
            unit="",
            peer="the reduction of multiply-accumulates, attention counted",
            how="speed-up over the dense model with the same linears, over the reduction that multum.cost measures",
            value=lambda results: (
                results.ratio("heads_half_b8_128", SAME_LINEARS)
                / results.number("heads_half_b8_128", "mac_reduction")
            ),
        ),
    ),
)
