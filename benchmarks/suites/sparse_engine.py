"""Sparse convolution on the CPU against spconv and plain torch: layers, whole networks, a step of training.

Sorting, kernel maps and all that lies between points and voxels are in the times. The floor of a layer is the
operations of its pairs over the core's FMA peak of the same run. torchsparse and MinkowskiEngine cannot be had from
pip.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial

import torch

from benchmarks.peers import ENVIRONMENTS, Peer
from benchmarks.registry import Case, Figure, Setting, Suite, Table
from benchmarks.schema import Check, Results
from benchmarks.sparse_growth import SPCONV, grown_mb
from benchmarks.sparse_problem import SparseProblem, flops
from benchmarks.sparse_problem import ours as our_layers
from benchmarks.unet_problem import UNetProblem
from benchmarks.unet_problem import ours as our_unet
from multum.cost import Latency
from multum.ops import measure_fma_peak
from multum.ops.sparse_convolution import sparse_convolution
from multum.pointcloud import SparseTensor

WORKER = "spconv_worker"
MAP, HASHED_MAP = "ours_map_alone", "spconv_map_alone"
_MAIN = "subm64_100k"
OURS, TORCH, TWO_THREADS, ALONE, TEN_TIMES = (
    "ours",
    "torch",
    "ours_two_threads",
    "ours_without_map",
    "ours_1m",
)
FULL, QUICK = 100_000, 2_000
LAYERS: Mapping[str, tuple[str, SparseProblem]] = {
    f"{name}_100k": (about, SparseProblem(num_voxels=FULL, **wish))  # type: ignore[arg-type]
    for name, about, wish in (
        ("subm64", "3 x 3 x 3, 64 -> 64", {"kind": "stays", "inputs": 64, "outputs": 64}),
        ("subm64_train", "the same and back", {"kind": "stays", "inputs": 64, "outputs": 64, "trains": True}),
        ("subm32", "3 x 3 x 3, 32 -> 32", {"kind": "stays", "inputs": 32, "outputs": 32}),
        ("subm128", "3 x 3 x 3, 128 -> 128", {"kind": "stays", "inputs": 128, "outputs": 128}),
        ("down2", "2 x 2 x 2 with stride 2, 64 -> 64", {"kind": "down", "inputs": 64, "outputs": 64}),
        ("up2", "the same, and transposed up again", {"kind": "down_and_up", "inputs": 64, "outputs": 64}),
    )
}
UNETS: Mapping[str, tuple[str, UNetProblem]] = {
    "spvcnn_pandaset": ("SPVCNN, inference", UNetProblem(point_branch=True)),
    "minkunet_pandaset": ("MinkUNet, inference", UNetProblem(point_branch=False)),
    "train_step_pandaset": (
        "MinkUNet, a step of training, without the optimizer's",
        UNetProblem(point_branch=False, trains=True),
    ),
}
AGREES = 1e-5
"""How far results may be apart, in norm."""


def _small(problem: SparseProblem, setting: Setting) -> SparseProblem:
    return replace(problem, num_voxels=QUICK) if setting.quick else problem


def _as_checked(problem: SparseProblem | UNetProblem, _: Setting) -> SparseProblem | UNetProblem:
    if isinstance(problem, SparseProblem):
        return replace(problem, num_voxels=QUICK)
    return replace(problem, is_small=True)


def _check(prepare: str, problem: SparseProblem | UNetProblem) -> Check:
    with Peer(ENVIRONMENTS[SPCONV], WORKER, num_threads=1) as peer:
        error = peer.call(prepare, name="check", wish=asdict(problem))
    return Check.holds(error < AGREES, f"{error:.1e} from spconv's, in norm")


def _run_layers(name: str, _: object, setting: Setting) -> Mapping[str, Latency | float]:
    problem = _small(LAYERS[name][1], setting)
    calls: dict[str, Callable[[], object]] = {
        OURS: our_layers(problem),
        TORCH: our_layers(problem, "reference"),
    }
    with Peer(ENVIRONMENTS[SPCONV], WORKER, num_threads=setting.num_threads) as peer:
        peer.call("prepare_layer", name=name, wish=asdict(problem))
        calls[SPCONV] = lambda: peer.call("run", name=name)
        if name == _MAIN:
            peer.call("prepare_map", name="map", wish=asdict(problem))
            calls |= {ALONE: _without_map(problem), MAP: _map_alone(problem)}
            calls[HASHED_MAP] = lambda: peer.call("run", name="map")
        times = setting.times(calls)
    readings: dict[str, Latency | float] = {**times, **_floor(flops(problem), times), **_growth(problem)}
    if name == _MAIN:
        readings |= setting.times({TWO_THREADS: calls[OURS]}, num_threads=2)
        larger = our_layers(replace(problem, num_voxels=10 * problem.num_voxels))
        readings |= setting.times({TEN_TIMES: larger, "ours_100k_beside": calls[OURS]})
    return readings


def _run_unet(name: str, _: object, setting: Setting) -> Mapping[str, Latency | float]:
    problem = replace(UNETS[name][1], is_small=setting.quick)
    with Peer(ENVIRONMENTS[SPCONV], WORKER, num_threads=setting.num_threads) as peer:
        peer.call("prepare_unet", name=name, wish=asdict(problem))
        times = setting.times({OURS: our_unet(problem), SPCONV: lambda: peer.call("run", name=name)})
    return {**times, **_growth(problem)}


def _without_map(problem: SparseProblem) -> Callable[[], object]:
    x, layer = SparseTensor.of(problem.features(), problem.voxels()), problem.layers()[0]
    pairs = layer.pairs(x)[1]
    return torch.no_grad()(lambda: sparse_convolution(x.feature_NC, layer.weight, pairs))


def _map_alone(problem: SparseProblem) -> Callable[[], object]:
    voxel_N4, feature_NC, layer = problem.voxels(), problem.features(), problem.layers()[0]
    return lambda: layer.pairs(SparseTensor.of(feature_NC, voxel_N4))


def _floor(operations: float, times: Mapping[str, Latency]) -> dict[str, float]:
    peak = measure_fma_peak().flops_per_second
    found = {"floor_seconds": operations / peak, "peak_gflops": peak / 1e9}
    alone = times.get(ALONE, times[OURS]).median_seconds
    return found | {"share_of_peak": operations / alone / peak}


def _growth(problem: SparseProblem | UNetProblem) -> dict[str, float]:
    return {f"{who}_mb": grown_mb(problem, who) for who in (OURS, SPCONV)}


def _over(results: Results, case: str, peer: str = SPCONV, mine: str = OURS) -> float:
    return results.number(case, peer) / results.number(case, mine)


def layers_table(results: Results) -> str:
    """Time and growth of ours, and how many times spconv and plain torch take."""
    lines = ["| one thread | ours | spconv takes | torch takes | of the peak | ours grows | spconv grows |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    abouts = {name: about for cases in (LAYERS, UNETS) for name, (about, _) in cases.items()}
    for name in (it.name for it in results.cases):
        about, layer = abouts[name], name in LAYERS
        cells = [
            f"{1e3 * results.number(name, OURS):.0f} ms",
            f"{_over(results, name):.1f}x",
            f"{_over(results, name, TORCH):.1f}x" if layer else "",
            f"{100 * results.number(name, 'share_of_peak'):.0f} %" if layer else "",
            f"{results.number(name, f'{OURS}_mb'):.0f} MB",
            f"{results.number(name, f'{SPCONV}_mb'):.0f} MB",
        ]
        lines.append(f"| {about} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(
    id_: str, goal: float | None, value: Callable[[Results], float], how: str, peer: str = "spconv 2.3.8"
) -> Figure:
    return Figure(id=f"pointcloud.{id_}", unit="x", goal_min=goal, value=value, how=how, peer=peer)


_HOW = (
    "100k voxels of a surface, 14.7 pairs each, one thread, sorting and kernel map included; median of interleaved "
    "rounds"
)
_NET = (
    "channels halved, first scan of PandaSet at 0.05 m, one thread, from points to numbers; median of interleaved "
    "rounds"
)
_RATIOS = (
    ("subm64_100k_fwd_vs_spconv", "subm64_100k", 3.5, _HOW),
    ("subm64_100k_fwdbwd_vs_spconv", "subm64_train_100k", 3.0, _HOW),
    ("subm32_fwd_vs_spconv", "subm32_100k", 2.0, _HOW),
    ("subm128_fwd_vs_spconv", "subm128_100k", 2.0, _HOW),
    ("down2_fwd_vs_spconv", "down2_100k", 2.0, _HOW),
    ("up2_fwd_vs_spconv", "up2_100k", 2.0, f"{_HOW}; down and up again, for a way up needs one down"),
    ("spvcnn_pandaset_vs_spconv", "spvcnn_pandaset", 2.0, _NET),
    ("minkunet_pandaset_vs_spconv", "minkunet_pandaset", 2.0, _NET),
    ("train_step_pandaset_vs_spconv", "train_step_pandaset", 2.0, _NET),
)

SUITE = Suite(
    name="sparse_engine",
    about="Sparse convolution on the CPU, layers and whole networks, against spconv and plain torch",
    peers=(SPCONV,),
    cases=(
        *(
            Case(
                name=name,
                about=f"{about}; {FULL:,} voxels of a surface, one thread",
                prepare=partial(_as_checked, problem),
                check=partial(_check, "prepare_layer"),
                run=partial(_run_layers, name),
                ours=OURS,
                peers=(SPCONV, TORCH),
            )
            for name, (about, problem) in LAYERS.items()
        ),
        *(
            Case(
                name=name,
                about=f"{about}; channels halved, a scan of PandaSet at 0.05 m, one thread",
                prepare=partial(_as_checked, problem),
                check=partial(_check, "prepare_unet"),
                run=partial(_run_unet, name),
                ours=OURS,
                peers=(SPCONV,),
            )
            for name, (about, problem) in UNETS.items()
        ),
    ),
    tables=(Table(name="layers", render=layers_table),),
    figures=(
        *(_figure(id_, goal, partial(_over, case=case), how) for id_, case, goal, how in _RATIOS),
        Figure(
            id="pointcloud.subm64_100k_share_of_fma_peak",
            unit="",
            goal_min=0.7,
            value=lambda results: results.number(_MAIN, "share_of_peak"),
            peer="the core's FMA peak of the same run",
            how="operations of the pairs over the median time, the kernel map found before",
        ),
        _figure(
            "two_thread_scaling",
            1.6,
            partial(_over, case=_MAIN, peer=OURS, mine=TWO_THREADS),
            f"{_HOW}, then two",
            "ours on one thread",
        ),
        Figure(
            id="pointcloud.growth_1m_over_100k",
            unit="x",
            goal_max=11,
            value=partial(_over, case=_MAIN, peer=TEN_TIMES, mine="ours_100k_beside"),
            peer="a tenth of the voxels",
            how=_HOW,
        ),
    ),
)
