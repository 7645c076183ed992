"""The encoder that several suites measure: BERT-Base on a batch of 8 x 384 tokens, a third of them kept on average."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.registry import Setting
from benchmarks.schema import Check
from multum.attention import TokenSchedule, prune
from multum.attention.reference import masked_dense
from multum.ops import fast_linears

LENGTH, BATCH, NUM_LAYERS = 384, 8, 12
BERT_SCHEDULE = TokenSchedule(keep_ratios=(1.0, 1.0) + (0.2,) * 10)
"""Tokens per layer 384, 384, then 77: a third on average."""
TWIN_TOLERANCE = 2e-4
"""Hidden states of order one after twelve layers in float32, dense with masks against rows really gone."""


@dataclass(frozen=True, kw_only=True)
class BertProblem:
    """A BERT-Base of random weights, dense under SDPA, and a batch without padding."""

    model: Any
    """The model. Weights are drawn wider than usual, so that attention has favourites as in a trained model."""
    tokens: torch.Tensor
    """Token ids, (8, 384)."""

    def forward(self, schedule: TokenSchedule | None = None, *, fast: bool = False) -> torch.Tensor:
        """Last hidden states."""
        with torch.inference_mode(), self.pruned(schedule), self._linears(fast):
            return self.model(self.tokens).last_hidden_state  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def pruned(self, schedule: TokenSchedule | None) -> Iterator[None]:
        """The model under a schedule; as it is when None."""
        if schedule is None:
            yield
            return
        with prune(self.model, schedule):
            yield

    @contextlib.contextmanager
    def _linears(self, fast: bool) -> Iterator[None]:
        if not fast:
            yield
            return
        with fast_linears(self.model):
            yield


def bert_problem(setting: Setting) -> BertProblem:
    """Build the model and draw the tokens."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(setting.seed)
    config = BertConfig(initializer_range=0.06, attn_implementation="sdpa")
    model = BertModel(config, add_pooling_layer=False).eval()
    batch = 2 if setting.quick else BATCH
    tokens = torch.randint(1000, config.vocab_size, (batch, LENGTH), generator=setting.generator())
    return BertProblem(model=model, tokens=tokens)


def check_bert(problem: BertProblem, schedule: TokenSchedule = BERT_SCHEDULE) -> Check:
    """Hold the pruned model against the masked dense twin: the same tokens kept, the same states."""
    with torch.inference_mode():
        twin = masked_dense(problem.model, problem.tokens[0], schedule)
        with prune(problem.model, schedule) as run, fast_linears(problem.model):
            ours = problem.model(problem.tokens).last_hidden_state[0]
    kept = run.positions[0].tolist()
    if kept != list(twin.kept[-1]):
        return Check.holds(False, "the kept tokens are not those of the masked dense twin")
    return Check.close(ours, twin.hidden_ND[kept], allowed=TWIN_TOLERANCE)
