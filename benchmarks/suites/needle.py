"""A fact hidden in a long text: is it still in the cache when the question comes?

4,096 tokens of WikiText with one sentence put in, at ten depths. The text is read and its cache compressed before the
question is known; then the question is asked and the answer written from what the cache still holds. SnapKV keeps
float32 rows, ours keeps rows in two bit planes, so that at equal bytes it holds several times as many.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.language_problem import LanguageProblem, language_peer, language_problem
from benchmarks.peers import ENVIRONMENTS
from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check, Results
from multum.attention.budget import bytes_per_token
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.needle import FACTS, NUM_ANSWER_TOKENS, ROWS_BEHIND, Needle, ask, hide_needle, is_right
from multum.attention.quantization_schedule import MsbBits, ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import say
from multum.cost import Latency

CONTEXT, NUM_DEPTHS = 4096, 10
BUDGETS = (0.2, 0.1)
"""Bytes that the compressed cache may hold, as parts of a dense float32 cache."""
OBSERVED_ROWS = ROWS_BEHIND
"""Rows at the end of the text whose attention decides, for SnapKV (its default) and for ours."""
NARROW: tuple[MsbBits, ...] = (8, 6, 4)
"""Bits of a key's first plane and of a value, the most that are worth having first."""
KVPRESS = ENVIRONMENTS["kvpress"]

Readings = Mapping[str, Latency | float]


@dataclass(frozen=True, kw_only=True)
class NeedleProblem:
    """The model and the texts."""

    language: LanguageProblem
    """The model."""
    needles: tuple[Needle, ...]
    """Facts by depths."""

    def holds(self, needle: Needle, answer: list[int]) -> bool:
        """Whether the answer has the fact."""
        return is_right(self.language.language, needle, answer)

    @property
    def row_bytes(self) -> int:
        """Bytes of one token in a dense float32 cache, all layers together."""
        config = self.language.model.config
        width = config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
        return int(config.num_hidden_layers * 2 * width * 4)


def _prepare(setting: Setting) -> NeedleProblem:
    length, depths = (CONTEXT, NUM_DEPTHS) if not setting.quick else (512, 2)
    language = language_problem(setting, num_tokens=length)
    tokenizer, text = language.language.tokenizer, language.tokens[0].tolist()
    needles = [
        hide_needle(tokenizer, text, depth=depth / max(1, depths - 1), fact=FACTS[0])
        for depth in range(depths)
    ]
    return NeedleProblem(language=language, needles=tuple(needles))


def schedule_for(budget: float, num_layers: int, width: int = 64) -> GenerationSchedule:
    """Ours at so many bytes: rows first, for a lost token is lost and a rounded one is not.

    The most bits with which every row fits, all of them read; with the fewest, as many rows as fit, the same in every
    layer.
    """
    allowed_bytes = 0.98 * budget * 2 * width * 4
    settings: list[tuple[MsbBits, MsbBits]] = [(msb, value) for msb in NARROW for value in NARROW]
    fitting = [it for it in settings if bytes_per_token(it[0], width, value_bits=it[1]) <= allowed_bytes]
    msb_bits, value_bits = max(fitting, key=sum, default=settings[-1])
    keep_ratio = min(1.0, allowed_bytes / bytes_per_token(msb_bits, width, value_bits=value_bits))
    return GenerationSchedule(
        tokens=CacheSchedule(keep_ratios=(keep_ratio,) * num_layers, prompt_rows=OBSERVED_ROWS),
        quantization=ProgressiveQuantization(
            msb_bits=msb_bits, value_bits=value_bits, threshold=1.0, rotate=True, centre=True
        ),
    )


def _check(problem: NeedleProblem) -> Check:
    """Ours holds no more bytes than it may."""
    if not KVPRESS.installed:
        return Check.holds(False, f"kvpress is not installed; {KVPRESS.remedy}")
    needle, layers = problem.needles[0], problem.language.model.config.num_hidden_layers
    held = {it: ask(problem.language.model, needle, schedule_for(it, layers)).bytes_held for it in BUDGETS}
    allowed = {it: it * len(needle.context) * problem.row_bytes for it in BUDGETS}
    told = ", ".join(f"{held[it]} bytes of {allowed[it]:.0f}" for it in BUDGETS)
    return Check.holds(all(held[it] <= allowed[it] for it in BUDGETS), f"ours holds {told}")


def _run(problem: NeedleProblem, setting: Setting) -> Readings:
    layers, dense = problem.language.model.config.num_hidden_layers, "dense"
    found: dict[str, list[bool]] = {}
    with language_peer(problem.language, "kvpress", num_threads=setting.num_threads) as peer:
        for needle in problem.needles:
            asked = {"prompt": needle.context, "question": needle.question, "num_new": NUM_ANSWER_TOKENS}
            answer = peer.call("answer", cache={"kind": "dynamic"}, press={}, **asked)
            found.setdefault(dense, []).append(problem.holds(needle, answer["tokens"]))
            for budget in BUDGETS:
                press = {"kind": "SnapKVPress", "compression_ratio": 1 - budget, "window_size": OBSERVED_ROWS}
                answer = peer.call("answer", cache={"kind": "dynamic"}, press=press, **asked)
                found.setdefault(f"snapkv_{budget}", []).append(problem.holds(needle, answer["tokens"]))
                ours = ask(problem.language.model, needle, schedule_for(budget, layers)).tokens
                found.setdefault(f"ours_{budget}", []).append(problem.holds(needle, ours))
            say(", ".join(f"{name} {sum(hits)}/{len(hits)}" for name, hits in found.items()))
    return {f"{name}.recall": sum(hits) / len(hits) for name, hits in found.items()}


def _difference(results: Results) -> float:
    """Recall of ours minus SnapKV's, mean over the budgets."""
    gains = [
        results.number("needle_4096", f"ours_{budget}.recall")
        - results.number("needle_4096", f"snapkv_{budget}.recall")
        for budget in BUDGETS
    ]
    return sum(gains) / len(gains)


SUITE = Suite(
    name="needle",
    about="A fact hidden in 4,096 tokens of WikiText, ours against SnapKV at equal bytes",
    peers=("kvpress",),
    counts_only=True,
    cases=(
        Case(
            name="needle_4096",
            about="SmolLM2-135M, a fact at ten depths, caches of a fifth and a tenth of the dense bytes",
            prepare=_prepare,
            check=_check,
            run=_run,
        ),
    ),
    figures=(
        Figure(
            id="attention.needle_4096_recall",
            unit="",
            goal_min=0,
            peer="SnapKV (kvpress) at equal bytes held",
            how=(
                "recall of ours minus SnapKV's, a fact at ten depths of 4,096 tokens, mean over caches of 20 % and "
                "10 % of the dense float32 bytes; compressed before the question is known, answers greedy"
            ),
            value=_difference,
        ),
    ),
)
