"""Encoders at a third of the tokens: against torch, and against the runtimes that a CPU user would pick instead.

Three questions. How much faster is the pruned model than the dense one under torch's SDPA, as shipped and with the same
linear layers? Than the dense model under ONNX Runtime and OpenVINO, in true float32 and in int8? And what does it cost
to accumulate scores when nothing is pruned? The runtimes live in an environment of their own and are timed
round robin with ours: `python -m benchmarks.peers install runtimes`.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from benchmarks.baselines import OURS, SAME_LINEARS, SHIPPED, THREE_COLUMNS, three_columns
from benchmarks.bert_problem import BERT_SCHEDULE, NUM_LAYERS, BertProblem, bert_problem, check_bert
from benchmarks.peers import ENVIRONMENTS, Peer
from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check, Paper, Results
from multum.attention import TokenSchedule, linear_schedule
from multum.core import published
from multum.cost import Latency, measure
from multum.ops import int8_linears

KEEP_ALL = TokenSchedule(keep_ratios=(1.0,) * NUM_LAYERS)
"""Nothing is pruned, scores are accumulated all the same."""
PAPERS_RULE = linear_schedule(NUM_LAYERS, 0.2, final_keep_ratio=0.1)
"""The same mean as `BERT_SCHEDULE`, falling in a straight line as the paper has it."""
RUNTIMES = ENVIRONMENTS["runtimes"]
FP32 = ("onnxruntime_fp32", "openvino_fp32")
INT8 = ("onnxruntime_int8", "openvino_int8")
RUNTIME_TOLERANCE = 2e-3
"""Hidden states of order one in float32, computed in another order; bf16 would be ten times further off."""
INT8_COSINE = 0.95
"""Least cosine between a token's state over int8 linear layers and in float32, twelve layers of random weights on."""

Readings = Mapping[str, Latency | float]


def _run_torch(problem: BertProblem, setting: Setting, num_threads: int) -> Readings:
    dense = measure(problem.model, (problem.tokens,), latency=False)
    with problem.pruned(BERT_SCHEDULE):
        pruned = measure(problem.model, (problem.tokens,), latency=False)
    times = three_columns(
        setting,
        shipped=problem.forward,
        same_linears=lambda: problem.forward(fast=True),
        ours=lambda: problem.forward(BERT_SCHEDULE, fast=True),
        num_threads=num_threads,
    )
    return {**times, "mac_reduction": dense.macs / pruned.macs}


def _run_papers_rule(problem: BertProblem, setting: Setting) -> Readings:
    return three_columns(
        setting,
        shipped=problem.forward,
        same_linears=lambda: problem.forward(fast=True),
        ours=lambda: problem.forward(PAPERS_RULE, fast=True),
    )


def _run_keep_all(problem: BertProblem, setting: Setting) -> Readings:
    return setting.times(
        {
            SAME_LINEARS: lambda: problem.forward(fast=True),
            OURS: lambda: problem.forward(KEEP_ALL, fast=True),
        }
    )


@dataclass(frozen=True, kw_only=True)
class RuntimeProblem:
    """The encoder, and the runtimes that are to compute it densely."""

    bert: BertProblem
    """Ours."""
    names: tuple[str, ...]
    """Runtimes with their precision."""
    num_threads: int
    """Threads for either side."""

    @property
    def int8(self) -> bool:
        """Whether both sides compute their linear layers in int8."""
        return self.names == INT8

    def linears(self) -> contextlib.AbstractContextManager[object]:
        """Int8 linear layers, where the runtimes have them; rounding the weights is not timed on either side."""
        return int8_linears(self.bert.model, activations="int8") if self.int8 else contextlib.nullcontext()

    def ours(self) -> torch.Tensor:
        """The pruned model, inside `linears`."""
        return self.bert.forward(BERT_SCHEDULE, fast=not self.int8)

    @contextlib.contextmanager
    def runtimes(self) -> Iterator[Peer]:
        """The runtimes with the model in them."""
        with (
            tempfile.TemporaryDirectory() as folder,
            Peer(RUNTIMES, "runtimes", num_threads=self.num_threads) as peer,
        ):
            self.bert.model.save_pretrained(folder)
            peer.call("prepare", folder=folder, tokens=self.bert.tokens.tolist(), names=list(self.names))
            yield peer


def _check_runtimes(problem: RuntimeProblem) -> Check:
    """Ours against its twin; each runtime against torch's dense model."""
    if not RUNTIMES.installed:
        return Check.holds(False, f"the runtimes are not installed; {RUNTIMES.remedy}")
    ours = _check_int8(problem) if problem.int8 else check_bert(problem.bert)
    if not ours.passed:
        return ours
    expected_D = problem.bert.forward()[0, 0]
    words = [ours.detail]
    with problem.runtimes() as peer:
        for name in problem.names:
            actual_D = torch.tensor(peer.call("output", name=name))
            cosine = torch.cosine_similarity(actual_D, expected_D, dim=0).item()
            words.append(f"{name} has cosine {cosine:.5f} with torch's dense model")
            if not problem.int8 and not (actual_D - expected_D).abs().max() <= RUNTIME_TOLERANCE:
                return Check.holds(False, f"{name} does not compute the dense model in float32")
    return Check.holds(True, "; ".join(words))


def _check_int8(problem: RuntimeProblem) -> Check:
    """States over int8 linear layers against float32, dense; the pruned model's rows are held by the float32 case."""
    expected_BND = problem.bert.forward()
    with problem.linears():
        actual_BND = problem.bert.forward()
    cosine = torch.cosine_similarity(actual_BND, expected_BND, dim=-1).mean().item()
    detail = f"mean cosine of int8 and float32 states {cosine:.4f}, at least {INT8_COSINE}"
    return Check.holds(cosine >= INT8_COSINE, detail)


def _run_runtimes(problem: RuntimeProblem, setting: Setting) -> Readings:
    with problem.runtimes() as peer, problem.linears():
        calls = {name: _peer_call(peer, name) for name in problem.names}
        return setting.times({**calls, OURS: problem.ours}, num_threads=problem.num_threads)


def _peer_call(peer: Peer, name: str) -> Callable[[], object]:
    return lambda: peer.call("run", name=name)


def _torch_case(num_threads: int) -> Case:
    said = published("spatten", "software_speedup")
    return Case(
        name=f"bert_base_384_b8_{num_threads}_thread",
        about=f"BERT-Base, 8 x 384 tokens, layers on 384, 384, then 77 tokens, {_threads(num_threads)}",
        prepare=bert_problem,
        check=check_bert,
        run=lambda problem, setting: _run_torch(problem, setting, num_threads),
        ours=OURS,
        peers=THREE_COLUMNS,
        paper=Paper(value=said.number, unit=said.unit, where=f"SpAtten, {said.where}"),
    )


def _runtime_case(names: tuple[str, ...], num_threads: int) -> Case:
    precision = names[0].rsplit("_", 1)[1]
    ours = "over int8 linear layers" if names == INT8 else "in float32"
    return Case(
        name=f"bert_base_384_b8_runtimes_{precision}_{num_threads}_thread",
        about=f"the same batch, pruned by us {ours}, dense under {precision} runtimes, {_threads(num_threads)}",
        prepare=lambda setting: RuntimeProblem(
            bert=bert_problem(setting), names=names, num_threads=num_threads
        ),
        check=_check_runtimes,
        run=_run_runtimes,
        ours=OURS,
        peers=names,
    )


def _threads(num_threads: int) -> str:
    return "one thread" if num_threads == 1 else f"{num_threads} threads"


def _best_runtime(results: Results, names: tuple[str, ...], num_threads: int) -> float:
    precision = names[0].rsplit("_", 1)[1]
    case = f"bert_base_384_b8_runtimes_{precision}_{num_threads}_thread"
    return min(results.ratio(case, name) for name in names)


def _share_of_mac_ratio(results: Results) -> float:
    case = "bert_base_384_b8_1_thread"
    return results.ratio(case, SAME_LINEARS) / results.number(case, "mac_reduction")


ONE_THREAD = "median of interleaved rounds, one thread, tokens per layer 384, 384, then 77 x 10, no padding"
DENSE = "the dense model under SDPA"
BERT = "attention.bert_base_384_b8_keep33"

SUITE = Suite(
    name="encoder",
    about="BERT-Base at a third of the tokens, against torch, ONNX Runtime and OpenVINO",
    peers=("runtimes",),
    cases=(
        _torch_case(1),
        _torch_case(2),
        Case(
            name="bert_base_384_b8_papers_rule",
            about="BERT-Base, 8 x 384 tokens, the same mean, falling in a straight line from 115 to 39, one thread",
            prepare=bert_problem,
            check=lambda problem: check_bert(problem, PAPERS_RULE),
            run=_run_papers_rule,
            ours=OURS,
            peers=THREE_COLUMNS,
        ),
        Case(
            name="bert_base_384_b8_keep100",
            about="BERT-Base, 8 x 384 tokens, all of them kept, scores accumulated, one thread",
            prepare=bert_problem,
            check=lambda problem: check_bert(problem, KEEP_ALL),
            run=_run_keep_all,
            ours=OURS,
            peers=(SAME_LINEARS,),
        ),
        *(_runtime_case(names, num_threads) for names in (FP32, INT8) for num_threads in (1, 2)),
    ),
    figures=(
        Figure(
            id=f"{BERT}_vs_sdpa_same_linears",
            unit="x",
            goal_min=2.7,
            peer=f"{DENSE} with the same linear layers",
            how=ONE_THREAD,
            value=lambda results: results.ratio("bert_base_384_b8_1_thread", SAME_LINEARS),
        ),
        Figure(
            id=f"{BERT}_vs_sdpa_same_linears_two_threads",
            unit="x",
            peer=f"{DENSE} with the same linear layers",
            how="as with one thread",
            value=lambda results: results.ratio("bert_base_384_b8_2_thread", SAME_LINEARS),
        ),
        Figure(
            id=f"{BERT}_vs_sdpa_as_shipped",
            unit="x",
            goal_min=4,
            peer=f"{DENSE}, linear layers as torch ships them for this processor",
            how=ONE_THREAD,
            value=lambda results: results.ratio("bert_base_384_b8_1_thread", SHIPPED),
        ),
        Figure(
            id=f"{BERT}_share_of_mac_ratio",
            unit="",
            goal_min=0.9,
            peer="the reduction of multiply-accumulates, attention counted",
            how="speed-up over SDPA with the same linear layers, over the reduction that multum.cost measures",
            value=_share_of_mac_ratio,
        ),
        Figure(
            id=f"{BERT}_vs_best_runtime",
            unit="x",
            goal_min=2,
            peer="the dense model, the faster of ONNX Runtime and OpenVINO, both held to float32",
            how=f"{ONE_THREAD}; the runtimes in a process of their own, interleaved with ours",
            value=lambda results: _best_runtime(results, FP32, 1),
        ),
        Figure(
            id=f"{BERT}_vs_best_runtime_two_threads",
            unit="x",
            peer="the dense model, the faster of ONNX Runtime and OpenVINO, both held to float32",
            how="as with one thread",
            value=lambda results: _best_runtime(results, FP32, 2),
        ),
        Figure(
            id=f"{BERT}_int8_vs_best_runtime_int8",
            unit="x",
            peer="the dense model in int8, the faster of ONNX Runtime (dynamic) and OpenVINO (NNCF)",
            how=f"{ONE_THREAD}; ours over int8 linear layers",
            value=lambda results: _best_runtime(results, INT8, 1),
        ),
        Figure(
            id="attention.keep100_overhead",
            unit="x",
            goal_max=1.05,
            peer=f"{DENSE} with the same linear layers",
            how="time of the model that keeps every token and accumulates scores, over the dense one; one thread",
            value=lambda results: 1 / results.ratio("bert_base_384_b8_keep100", SAME_LINEARS),
        ),
    ),
)
