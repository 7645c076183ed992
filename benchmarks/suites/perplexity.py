"""Perplexity against bytes: what the pruned cache saves at +1 %, beside other people's caches on the same text.

SmolLM2-135M on the first windows of WikiText-2's test split, 1,024 tokens each, the second half scored token by token
(`multum.attention.perplexity`). Dials were chosen on the validation split. Every cache is charged with the bytes it
must read to write one token, scales included; other people's in their favour (`cache_bytes.py` of the workers).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.language_problem import (
    NUM_UNSCORED,
    NUM_WINDOWS,
    LanguageProblem,
    language_peer,
    language_problem,
)
from benchmarks.peers import ENVIRONMENTS
from benchmarks.perplexity_dials import OUR_CACHES
from benchmarks.quiet_axes import quiet
from benchmarks.registry import Case, Figure, Plot, Setting, Suite, Table
from benchmarks.schema import Check, NoNumberError, Results
from multum.attention import GenerationSchedule, default_schedule
from multum.attention.perplexity import TeacherForced, teacher_forced
from multum.core import say
from multum.cost import Latency

LOSS_PERCENT = 1.0
"""The rise of perplexity at which savings are told."""
CHUNK = 32
"""Tokens after which transformers' quantized caches take their residual window in; see `losses` of the worker."""

QUANTIZED: dict[str, dict[str, Any]] = {
    "fp8": {"kind": "fp8"},
    "hqq_8": {"kind": "hqq", "nbits": 8, "axis_key": 1, "axis_value": 1, "residual_length": CHUNK},
    "hqq_4": {"kind": "hqq", "nbits": 4, "axis_key": 1, "axis_value": 1, "residual_length": CHUNK},
    "hqq_2": {"kind": "hqq", "nbits": 2, "axis_key": 1, "axis_value": 1, "residual_length": CHUNK},
    "hqq_4_groups_of_32": {
        "kind": "hqq",
        "nbits": 4,
        "axis_key": 1,
        "axis_value": 1,
        "q_group_size": 32,
        "residual_length": CHUNK,
    },
    "quanto_4": {"kind": "quanto", "nbits": 4, "residual_length": CHUNK},
    "quanto_2": {"kind": "quanto", "nbits": 2, "residual_length": CHUNK},
}
"""transformers' own quantized caches: back end, bits, one group along each row. Three bits of hqq are not among them:
its unpacking of a cache fails."""
TURBOQUANT: dict[str, dict[str, Any]] = {
    f"turboquant_{bits}": {"kind": "turboquant", "bits": bits, "residual_len": CHUNK} for bits in (4, 3, 2)
}
PRESSES: dict[str, dict[str, Any]] = {
    f"{name}_{ratio}": {"kind": kind, "compression_ratio": ratio}
    for name, kind in (("snapkv", "SnapKVPress"), ("expected_attention", "ExpectedAttentionPress"))
    for ratio in (0.25, 0.5, 0.75)
}
"""kvpress's methods: the part of the prompt's rows that goes; rows written later stay."""

Readings = Mapping[str, Latency | float]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The text, and the dense model's losses on it."""

    problem: LanguageProblem
    """Model and text."""
    windows_BN: torch.Tensor
    """What is scored."""
    dense: TeacherForced
    """The dense model."""

    def readings(self, name: str, loss_BS: torch.Tensor, bytes_read: float) -> dict[str, float]:
        """Perplexity, its rise against the dense model, and the bytes saved."""
        rise_B = (loss_BS - self.dense.loss_BS).double().mean(dim=1)
        error = rise_B.std().item() / math.sqrt(len(rise_B)) if len(rise_B) > 1 else 0.0
        return {
            f"{name}.perplexity": loss_BS.double().mean().exp().item(),
            f"{name}.loss_percent": 100 * (rise_B.mean().exp().item() - 1),
            f"{name}.loss_percent_error": 100 * error,
            f"{name}.bytes_saved": self.dense.dense_bytes_per_token / bytes_read,
        }


def _prepare(setting: Setting) -> Scored:
    problem = language_problem(setting)
    windows_BN = problem.windows(1 if setting.quick else NUM_WINDOWS)
    dense = teacher_forced(problem.model, windows_BN, num_prompt=NUM_UNSCORED)
    return Scored(problem=problem, windows_BN=windows_BN, dense=dense)


def _check_ours(scored: Scored) -> Check:
    """A cache that keeps all rows in full precision scores like the dense model."""
    windows_BN = scored.windows_BN[:1, : NUM_UNSCORED + 32]
    kept = teacher_forced(
        scored.problem.model, windows_BN, num_prompt=NUM_UNSCORED, schedule=OUR_CACHES["everything"]
    )
    return Check.close(kept.loss_BS, scored.dense.loss_BS[:1, :32], allowed=1e-3)


def _run_ours(scored: Scored, setting: Setting) -> Readings:
    dense = scored.readings("dense", scored.dense.loss_BS, scored.dense.dense_bytes_per_token)
    names = list(OUR_CACHES)[:2] if setting.quick else list(OUR_CACHES)
    return dense | _score_ours(scored, {name: OUR_CACHES[name] for name in names})


def _run_default(scored: Scored, setting: Setting) -> Readings:  # noqa: ARG001 - it is one setting, quick or not
    default = default_schedule(scored.problem.model)
    assert isinstance(default, GenerationSchedule)
    return _score_ours(scored, {"default": default})


def _score_ours(scored: Scored, schedules: Mapping[str, GenerationSchedule]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, schedule in schedules.items():
        ours = teacher_forced(
            scored.problem.model, scored.windows_BN, num_prompt=NUM_UNSCORED, schedule=schedule
        )
        found |= scored.readings(name, ours.loss_BS, ours.bytes_read_per_token)
        found |= {
            f"{name}.rows_read_share": ours.rows_read_share,
            f"{name}.value_rows_share": ours.value_rows_share,
            f"{name}.lsb_rate": ours.lsb_rate,
        }
        say(f"{name}: {found[f'{name}.loss_percent']:+.2f} %, {found[f'{name}.bytes_saved']:.2f}x")
    return found


@dataclass(frozen=True, kw_only=True)
class PeerCaches:
    """Caches of one environment."""

    environment: str
    """Which."""
    caches: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]
    """By name what the worker makes the cache and the press of."""
    chunk: int
    """Tokens per step; 1 where a step of several would not be the same."""

    def check(self, scored: Scored) -> Check:
        """The peer's dense cache scores like ours."""
        environment = ENVIRONMENTS[self.environment]
        if not environment.installed:
            return Check.holds(False, f"{environment.name} is not installed; {environment.remedy}")
        with language_peer(scored.problem, self.environment) as peer:
            windows = scored.windows_BN[:1].tolist()
            answer = peer.call(
                "losses",
                tokens=windows,
                num_prompt=NUM_UNSCORED,
                chunk=CHUNK,
                cache={"kind": "dynamic"},
                press={},
            )
        return Check.close(torch.tensor(answer["losses"]), scored.dense.loss_BS[:1], allowed=5e-3)

    def run(self, scored: Scored, setting: Setting) -> Readings:
        """Score every cache, window by window: some of them quantize a batch together."""
        found: dict[str, float] = {}
        names = list(self.caches)[:1] if setting.quick else list(self.caches)
        with language_peer(scored.problem, self.environment, num_threads=setting.num_threads) as peer:
            for name in names:
                cache, press = self.caches[name]
                answers = [
                    peer.call(
                        "losses",
                        tokens=[window_N.tolist()],
                        num_prompt=NUM_UNSCORED,
                        chunk=self.chunk,
                        cache=cache,
                        press=press,
                    )
                    for window_N in scored.windows_BN
                ]
                loss_BS = torch.tensor([answer["losses"][0] for answer in answers])
                bytes_read = sum(answer["bytes_read_per_token"] for answer in answers) / len(answers)
                found |= scored.readings(name, loss_BS, bytes_read)
                say(f"{name}: {found[f'{name}.loss_percent']:+.2f} %, {found[f'{name}.bytes_saved']:.2f}x")
        return found


def _peer_case(name: str, about: str, peer: PeerCaches) -> Case:
    return Case(name=name, about=about, prepare=_prepare, check=peer.check, run=peer.run)


def curve(results: Results, case: str) -> list[tuple[str, float, float]]:
    """Name, rise of perplexity in percent and bytes saved of every cache of a case."""
    readings = results.case(case).readings
    names = [name.removesuffix(".bytes_saved") for name in readings if name.endswith(".bytes_saved")]
    return [
        (name, results.number(case, f"{name}.loss_percent"), results.number(case, f"{name}.bytes_saved"))
        for name in names
    ]


def saved_at(points: list[tuple[str, float, float]], percent: float) -> float:
    """Bytes saved at a rise of perplexity: on the line between the best caches on either side of it.

    Raises:
        NoNumberError: Every cache costs more.

    >>> saved_at([("a", 0.5, 8.0), ("b", 1.5, 12.0), ("worse", 0.6, 5.0)], 1.0)
    10.0
    """
    below = [(saved, loss) for _, loss, saved in points if loss <= percent]
    if not below:
        raise NoNumberError(f"every cache costs more than {percent:g} % of perplexity")
    saved, loss = max(below)
    beyond = [
        saved + (more - saved) * (percent - loss) / (dearer - loss)
        for _, dearer, more in points
        if dearer > percent and more > saved
    ]
    return max([saved, *beyond])


def _saved_vs_quantized(results: Results) -> float:
    ours, theirs = curve(results, "ours"), curve(results, "transformers_caches")
    return saved_at(ours, LOSS_PERCENT) / saved_at(theirs, LOSS_PERCENT)


CASES = {
    "ours": "multum",
    "our_default": "multum",
    "transformers_caches": "transformers",
    "turboquant": "TurboQuant",
    "kvpress": "kvpress",
}


def _measured(results: Results) -> dict[str, list[tuple[str, float, float]]]:
    present = {case.name for case in results.cases if case.check.passed}
    return {case: curve(results, case) for case in CASES if case in present}


def _table(results: Results) -> str:
    """Every cache with its saving and its cost."""
    lines = ["| cache | whose | bytes saved | perplexity |", "|---|---|---:|---:|"]
    for case, points in _measured(results).items():
        for name, loss, saved in points:
            lines.append(f"| {name.replace('_', ' ')} | {CASES[case]} | {saved:.2f}x | {loss:+.2f} % |")
    return "\n".join(lines)


def _draw(results: Results) -> Any:
    """Rise of perplexity against bytes saved."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(7, 3.6), layout="constrained")
    axes = drawing.subplots()
    colours, markers = ("#0f7285", "#0f7285", "#c2611f", "#7a4fa3", "#5b7f2b"), "o*s^D"
    for (case, points), colour, marker in zip(_measured(results).items(), colours, markers, strict=False):
        axes.scatter(
            [saved for _, _, saved in points],
            [loss for _, loss, _ in points],
            color=colour,
            marker=marker,
            label=CASES[case] + (", the default" if case == "our_default" else ""),
        )
    axes.axhline(LOSS_PERCENT, color="#777777", linestyle=":", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylim(-0.3, 40)
    axes.set_xticks([1, 2, 4, 8, 16], labels=["1x", "2x", "4x", "8x", "16x"])
    axes.set_yticks([0, 0.5, 1, 3, 10, 30], labels=["0", "0.5 %", "1 %", "3 %", "10 %", "30 %"])
    axes.minorticks_off()
    labels = {"x": "bytes of a dense float32 cache over bytes read", "y": "rise of perplexity"}
    quiet(drawing, axes, **labels, loc="lower left", bbox_to_anchor=(0.16, 0.0))
    return drawing


HOW = (
    "first 8 windows of 1,024 tokens, positions 512 to 1,023 fed token by token; dials chosen on the validation split; "
    "on the line between the measured caches on either side of +1 %"
)

SUITE = Suite(
    name="perplexity",
    about="SmolLM2-135M on WikiText-2: perplexity against bytes of cache read, ours and other people's",
    peers=("caches", "turboquant", "kvpress"),
    counts_only=True,
    cases=(
        Case(
            name="ours",
            about="our caches: tokens alone, values alone, bits alone, and all of them at growing savings",
            prepare=_prepare,
            check=_check_ours,
            run=_run_ours,
        ),
        Case(
            name="our_default",
            about="what a generating model gets when no dial is turned",
            prepare=_prepare,
            check=_check_ours,
            run=_run_default,
        ),
        _peer_case(
            "transformers_caches",
            "transformers' quantized caches by hqq, quanto and fp8, residual window of 32 tokens",
            PeerCaches(environment="caches", caches={n: (c, {}) for n, c in QUANTIZED.items()}, chunk=CHUNK),
        ),
        _peer_case(
            "turboquant",
            "a TurboQuant cache of 4, 3 and 2 bits, residual window of 32 tokens",
            PeerCaches(environment="turboquant", caches={n: (c, {}) for n, c in TURBOQUANT.items()}, chunk=1),
        ),
        _peer_case(
            "kvpress",
            "kvpress: SnapKV and expected attention on the first half of a window, float32 rows",
            PeerCaches(
                environment="kvpress",
                caches={n: ({"kind": "dynamic"}, press) for n, press in PRESSES.items()},
                chunk=CHUNK,
            ),
        ),
    ),
    figures=(
        Figure(
            id="attention.smollm2_bytes_saved_at_ppl_plus_1pct",
            unit="x",
            goal_min=10,
            peer="a dense float32 cache",
            how=HOW,
            value=lambda results: saved_at(curve(results, "ours"), LOSS_PERCENT),
        ),
        Figure(
            id="attention.smollm2_bytes_vs_quantized_cache",
            unit="x",
            goal_min=1.5,
            peer="transformers' best quantized cache at the same perplexity",
            how=HOW,
            value=_saved_vs_quantized,
        ),
    ),
    tables=(Table(name="curve", render=_table),),
    plots=(Plot(path=Path("docs/images/perplexity.svg"), draw=_draw),),
)
