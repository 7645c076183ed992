"""Tokens per second at 4,096 tokens of context: ours at the setting that costs 1 % of perplexity, against others.

Every cache reads the same text once; then all of them generate a few tokens in turn, round after round, each going on
where it stopped, so that all are timed at the same lengths. transformers' caches run as shipped and over the same
linear layers as ours; the quantized ones and llama.cpp run in environments of their own. Weights are rounded to int8
once, before any clock runs.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.baselines import OURS, SAME_LINEARS, SHIPPED
from benchmarks.language_problem import LanguageProblem, language_peer, language_problem
from benchmarks.peers import ENVIRONMENTS, Peer
from benchmarks.perplexity_dials import AT_ONE_PERCENT, OUR_CACHES
from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check, Results
from multum.attention import prune
from multum.attention.generation_run import GenerationRun
from multum.attention.schedule_rules import linear_cache
from multum.attention.sparse_schedule import GenerationSchedule
from multum.cost import Latency
from multum.data import smollm2_file
from multum.ops import fast_linears, int8_linears_

CONTEXT, NUM_NEW = 4096, 16
"""Mean length of the context while it is timed, and tokens of one reading."""
MOST_READINGS = 24
QUANTIZED = {"kind": "hqq", "nbits": 4, "axis_key": 1, "axis_value": 1, "q_group_size": 32}
"""transformers' quantized cache, four bits, residual window as it comes (128 tokens). Two groups in a row: hqq packs
two groups into a byte, and fails on an odd number of them."""
LLAMA_CACHES = ("f16", "q8_0", "q4_0")
CHECKED = 256
"""Context of the check."""

Readings = Mapping[str, Latency | float]
Linears = Callable[[Any], contextlib.AbstractContextManager[object]]


PROMPT, PROMPT_KEEP = 1024, 0.5
"""Tokens of the prompt whose reading is timed, and the part of them that its layers keep on average."""


def _as_shipped(model: Any) -> contextlib.AbstractContextManager[object]:  # noqa: ARG001 - one of `Linears`
    return contextlib.nullcontext()


@dataclass(kw_only=True)
class Stream:
    """One cache in use: everything written so far, and how to write more."""

    model: Any
    """The network."""
    ids: torch.Tensor
    """Tokens so far, one row."""
    cache: Any
    """What it generates from; None for ours until it has read."""
    schedule: GenerationSchedule | None = None
    """Ours; None for a cache of transformers."""
    linears: Linears = _as_shipped
    """What computes the linear layers."""
    run: GenerationRun | None = None
    """What ours did in the last reading."""

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """The model as this stream uses it."""
        with torch.inference_mode(), contextlib.ExitStack() as stack:
            stack.enter_context(self.linears(self.model))
            if self.schedule is not None:
                self.run = stack.enter_context(prune(self.model, self.schedule))
                self.cache = self.run.new_cache() if self.cache is None else self.cache
            yield

    def read(self) -> "Stream":
        """Read all but the last token into the cache."""
        with self.ready():
            self.model(self.ids[:, :-1], past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        return self

    def write(self, num_tokens: int = NUM_NEW) -> list[int]:
        """Generate so many tokens more, greedily, by the library's own `generate`."""
        with self.ready():
            longer = self.model.generate(
                self.ids,
                attention_mask=torch.ones_like(self.ids),
                past_key_values=self.cache,
                max_new_tokens=num_tokens,
                min_new_tokens=num_tokens,
                do_sample=False,
            )
        new: list[int] = longer[0, self.ids.shape[1] :].tolist()
        self.ids = longer
        return new

    def floor(self) -> dict[str, float]:
        """Bytes that a token of ours has to read, and how many times more they are with a dense float32 cache."""
        assert self.run is not None
        weights, ours = _weight_bytes(self.model), self.run.bytes_read_per_token
        dense = self.run.dense_bytes_read_per_token
        return {
            "weight_bytes_per_token": weights,
            "cache_bytes_per_token": ours,
            "dense_cache_bytes_per_token": dense,
            "bytes_ratio": (weights + dense) / (weights + ours),
        }


def _prompt_schedule(problem: LanguageProblem, keep_ratio: float) -> GenerationSchedule:
    tokens = linear_cache(problem.model.config.num_hidden_layers, keep_ratio)
    return GenerationSchedule(tokens=replace(tokens, prune_prompt=True))


def _prepare_prompt(setting: Setting) -> LanguageProblem:
    return language_problem(setting, num_tokens=PROMPT if not setting.quick else CHECKED)


def _check_prompt(problem: LanguageProblem) -> Check:
    """A prompt of which nothing is pruned on its way gives the dense model's logits."""
    ids = problem.tokens[:, :CHECKED]
    with torch.inference_mode():
        dense = problem.model(ids, logits_to_keep=1).logits
        with prune(problem.model, _prompt_schedule(problem, 1.0)):
            return Check.close(problem.model(ids, logits_to_keep=1).logits, dense, allowed=1e-3)


def _run_prompt(problem: LanguageProblem, setting: Setting) -> Readings:
    """The prompt read whole by the dense model, and pruned on its way; the multiply-accumulates beside."""
    schedule = _prompt_schedule(problem, PROMPT_KEEP)

    def stream(pruned: GenerationSchedule | None, linears: Linears) -> Callable[[], object]:
        return lambda: Stream(
            model=problem.model,
            ids=problem.tokens,
            cache=None if pruned else _dynamic(problem),
            schedule=pruned,
            linears=linears,
        ).read()

    calls = {
        SHIPPED: stream(None, _as_shipped),
        SAME_LINEARS: stream(None, fast_linears),
        OURS: stream(schedule, fast_linears),
    }
    times = setting.times(calls)
    with torch.inference_mode(), prune(problem.model, schedule) as run:
        problem.model(problem.tokens[:, :-1], logits_to_keep=1)
    rows = [record.num_queries[0] for record in run.records]
    return {**times, "token_reduction": len(rows) * rows[0] / sum(rows)}


def _weight_bytes(model: Any) -> float:
    """Bytes of all weights, but of an embedding that is only looked up and shares nothing with the output layer."""
    looked_up = model.get_input_embeddings().weight
    tensors = {id(it): it for it in (*model.parameters(), *model.buffers())}
    if all(it is not looked_up for it in model.get_output_embeddings().parameters()):
        del tensors[id(looked_up)]
    return float(sum(it.numel() * it.element_size() for it in tensors.values()))


def _prepare(setting: Setting) -> LanguageProblem:
    length = CONTEXT if not setting.quick else 2 * CHECKED
    return language_problem(setting, num_tokens=length)


def _check(problem: LanguageProblem) -> Check:
    """With everything kept in full precision, ours writes what the dense model writes."""
    ids = problem.tokens[:, :CHECKED]
    ours = Stream(model=problem.model, ids=ids, cache=None, schedule=OUR_CACHES["everything"]).read().write()
    dense = Stream(model=problem.model, ids=ids, cache=_dynamic(problem)).read().write()
    return Check.holds(
        ours == dense, f"{NUM_NEW} tokens written with everything kept are those of the dense model"
    )


def _check_with(environment: str) -> Callable[[LanguageProblem], Check]:
    def check(problem: LanguageProblem) -> Check:
        peer = ENVIRONMENTS[environment]
        if not peer.installed:
            return Check.holds(False, f"{environment} is not installed; {peer.remedy}")
        return _check(problem)

    return check


def _dynamic(problem: LanguageProblem) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=problem.model.config)


def _static(problem: LanguageProblem) -> Any:
    from transformers import StaticCache

    return StaticCache(
        config=problem.model.config, max_cache_len=_prompt(problem).shape[1] + MOST_READINGS * NUM_NEW
    )


def _prompt(problem: LanguageProblem) -> torch.Tensor:
    """So much of the text that the mean length while timing is the context asked for."""
    return problem.tokens[:, : problem.tokens.shape[1] - MOST_READINGS * NUM_NEW // 2]


def _ours(problem: LanguageProblem, linears: Linears = _as_shipped) -> Stream:
    schedule = OUR_CACHES[AT_ONE_PERCENT]
    return Stream(
        model=problem.model, ids=_prompt(problem), cache=None, schedule=schedule, linears=linears
    ).read()


def _theirs(problem: LanguageProblem, cache: Any, linears: Linears = _as_shipped) -> Stream:
    return Stream(model=problem.model, ids=_prompt(problem), cache=cache, linears=linears).read()


def _in_int8(problem: LanguageProblem) -> LanguageProblem:
    """The same with the weights of all linear layers in int8, the output layer's too."""
    model = copy.deepcopy(problem.model)
    int8_linears_(model, output_layer=True)
    return replace(problem, language=replace(problem.language, model=model))


def _run_transformers(problem: LanguageProblem, setting: Setting) -> Readings:
    streams = {
        "dynamic_as_shipped": _theirs(problem, _dynamic(problem)),
        "dynamic_same_linears": _theirs(problem, _dynamic(problem), fast_linears),
        "static_as_shipped": _theirs(problem, _static(problem)),
        "static_same_linears": _theirs(problem, _static(problem), fast_linears),
        OURS: _ours(problem, fast_linears),
    }
    times = setting.times({name: stream.write for name, stream in streams.items()})
    return _with_speeds(times) | streams[OURS].floor()


def _run_quantized(problem: LanguageProblem, setting: Setting) -> Readings:
    ours = _ours(problem, fast_linears)
    with language_peer(problem, "caches", num_threads=setting.num_threads) as peer:
        prompt = _prompt(problem)[0].tolist()
        peer.call("prepare_generation", stream="quantized", prompt=prompt, cache=QUANTIZED)
        calls = {
            "quantized_as_shipped": lambda: peer.call("generate", stream="quantized", num_tokens=NUM_NEW),
            OURS: ours.write,
        }
        return _with_speeds(setting.times(calls))


def _run_int8(problem: LanguageProblem, setting: Setting) -> Readings:
    rounded = _in_int8(problem)
    streams = {
        "dynamic_int8_linears": _theirs(rounded, _dynamic(rounded)),
        OURS: _ours(rounded),
    }
    times = setting.times({name: stream.write for name, stream in streams.items()})
    return _with_speeds(times) | streams[OURS].floor()


def _run_llama(problem: LanguageProblem, setting: Setting) -> Readings:
    ours = _ours(_in_int8(problem))
    prompt = _prompt(problem)[0].tolist()
    with Peer(ENVIRONMENTS["llama_cpp"], "llama_cpp", num_threads=setting.num_threads) as peer:
        for cache in LLAMA_CACHES:
            most = len(prompt) + MOST_READINGS * NUM_NEW
            peer.call("prepare", file=str(smollm2_file()), tokens=prompt, cache=cache, num_context=most)
        calls: dict[str, Callable[[], object]] = {
            f"llama_cpp_{cache}": _llama_call(peer, cache) for cache in LLAMA_CACHES
        }
        return _with_speeds(setting.times({**calls, OURS: ours.write}))


def _llama_call(peer: Peer, cache: str) -> Callable[[], object]:
    return lambda: peer.call("generate", cache=cache, num_tokens=NUM_NEW)


def _with_speeds(times: Mapping[str, Latency]) -> dict[str, Latency | float]:
    """Readings, with tokens per second beside them."""
    speeds = {f"{name}.tokens_per_second": NUM_NEW / it.median_seconds for name, it in times.items()}
    return {**times, **speeds}


TRANSFORMERS = ("dynamic_as_shipped", "dynamic_same_linears", "static_as_shipped", "static_same_linears")
LLAMA = tuple(f"llama_cpp_{cache}" for cache in LLAMA_CACHES)


def _vs_best_peer(results: Results) -> float:
    ratios = [results.ratio("generate_4096", name) for name in TRANSFORMERS]
    return min([*ratios, results.ratio("generate_4096_quantized", "quantized_as_shipped")])


SETTING = "4,096 tokens of context, the setting that costs 1 % of perplexity, 16 tokens a reading, one thread"

SUITE = Suite(
    name="generation",
    about="SmolLM2-135M: tokens per second at 4,096 tokens of context, against transformers and llama.cpp",
    peers=("caches", "llama_cpp"),
    cases=(
        Case(
            name="generate_4096",
            about="SmolLM2-135M, 16 tokens at 4,096 of context: ours, dynamic and static cache of transformers",
            prepare=_prepare,
            check=_check,
            run=_run_transformers,
            ours=OURS,
            peers=TRANSFORMERS,
        ),
        Case(
            name="generate_4096_quantized",
            about="the same against transformers' quantized cache (hqq, four bits)",
            prepare=_prepare,
            check=_check_with("caches"),
            run=_run_quantized,
            ours=OURS,
            peers=("quantized_as_shipped",),
        ),
        Case(
            name="generate_4096_int8",
            about="the same with int8 weights on both sides, against the dynamic cache",
            prepare=_prepare,
            check=_check,
            run=_run_int8,
            ours=OURS,
            peers=("dynamic_int8_linears",),
        ),
        Case(
            name="generate_4096_llama_cpp",
            about="ours with int8 weights against llama.cpp on the same GGUF file (4-bit weights), three caches",
            prepare=_prepare,
            check=_check_with("llama_cpp"),
            run=_run_llama,
            ours=OURS,
            peers=LLAMA,
        ),
        Case(
            name="prompt_1024",
            about="a prompt of 1,024 tokens read: pruned on its way to half of its tokens, against the dense model",
            prepare=_prepare_prompt,
            check=_check_prompt,
            run=_run_prompt,
            ours=OURS,
            peers=(SHIPPED, SAME_LINEARS),
        ),
    ),
    figures=(
        Figure(
            id="attention.generate_4096_vs_best_peer",
            unit="x",
            goal_min=1.3,
            peer="transformers' dynamic, static and quantized caches, as shipped and over the same linear layers",
            how=f"the smallest of the ratios of interleaved medians; {SETTING}",
            value=_vs_best_peer,
        ),
        Figure(
            id="attention.generate_4096_int8_vs_dynamic_int8",
            unit="x",
            peer="transformers' dynamic cache over the same int8 linear layers",
            how=f"{SETTING}; int8 weights in all linear layers, the output layer's too",
            value=lambda results: results.ratio("generate_4096_int8", "dynamic_int8_linears"),
        ),
        Figure(
            id="attention.generate_4096_vs_llama_cpp",
            unit="x",
            peer="llama.cpp, the fastest of its f16, q8_0 and q4_0 caches",
            how=f"{SETTING}; ours with int8 weights, llama.cpp with the file's own 4-bit weights",
            value=lambda results: min(results.ratio("generate_4096_llama_cpp", name) for name in LLAMA),
        ),
        Figure(
            id="attention.prompt_1024_keep50_vs_sdpa",
            unit="x",
            peer="the dense model, as shipped and over the same linear layers",
            how="the smaller of the ratios of interleaved medians; a prompt of 1,024 tokens read, half of its tokens "
            "kept on average by the layers that prune, one thread",
            value=lambda results: min(results.ratio("prompt_1024", name) for name in (SHIPPED, SAME_LINEARS)),
        ),
    ),
)
