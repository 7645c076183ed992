"""SpAtten against general-purpose platforms, over all benchmarks and task by task; SpAtten-1/8 against A3 and MNNFast.

Source: SpAtten (HPCA 2021), section V and Table III; numbers by their keys in `papers/spatten.toml`.
"""

from collections.abc import Iterable

from multum.accelerator.paper.assumptions import Assumptions, assumed
from multum.accelerator.paper.benchmarks30 import Benchmark
from multum.accelerator.paper.measured import geometric_mean, measure
from multum.accelerator.paper.opponents import (
    GPUS,
    PLATFORMS,
    Model,
    bound_of,
    eager_of,
    eighth,
    fitted_of,
    platform_cost,
    rival_cost,
)
from multum.accelerator.paper.rows import OF_RUN, Row, Table, rank_correlation, row_of
from multum.accelerator.rivals import A3, MnnFast, a3_conservative

FITTED_TO = "table_4_gpu_attention_time"
"""The published row behind `fitted_of`."""
TASKS = (
    ("BERT-Base", "CoLA"),
    ("BERT-Base", "SST-2"),
    ("BERT-Base", "QQP"),
    ("BERT-Base", "RTE"),
    ("BERT-Large", "CoLA"),
    ("BERT-Large", "RTE"),
)
"""Single tasks whose speed-up is published."""


def platforms() -> Table:
    """Speed and energy, geometric means over the 30."""
    rows: list[Row] = []
    for platform in PLATFORMS:
        rows += _platform_rows(platform, "", bound_of, ("data sheet",))
        if platform in GPUS:
            rows += _platform_rows(platform, " with launches", eager_of, ("launches", "data sheet"))
    rows += _platform_rows(
        "titan_xp",
        ", launches of Table IV",
        fitted_of,
        ("fitted to Table IV", "data sheet"),
        fitted_to=FITTED_TO,
    )
    note = (
        "A platform as its data sheet tells it is a bound; what was published was measured with PyTorch, whose "
        "launches alone take longer than a short sentence needs. GPT-2-Medium, which one model of the TITAN Xp is "
        "fitted to, is 4 of the 30."
    )
    return Table(title="Against general-purpose platforms, geometric mean of 30", rows=tuple(rows), note=note)


def _platform_rows(
    platform: str, said: str, model: Model, depends_on: tuple[str, ...], *, fitted_to: str = ""
) -> list[Row]:
    name, every = PLATFORMS[platform]().name, assumed().benchmarks
    energy = (*depends_on, "data-sheet power", "energy constants")
    return [
        row_of(
            f"speed-up over {name}{said}",
            f"speedup_{platform}",
            geometric_mean(platform_speedup(platform, it, model) for it in every),
            *OF_RUN,
            *depends_on,
            fitted_to=fitted_to,
        ),
        row_of(
            f"energy of {name}{said} over SpAtten's",
            f"energy_{platform}",
            geometric_mean(
                platform_cost(platform, it, model).joules / measure(it).energy.total for it in every
            ),
            *OF_RUN,
            *energy,
            fitted_to=fitted_to,
        ),
    ]


def platform_speedup(
    platform: str, benchmark: Benchmark, model: Model, assumptions: Assumptions | None = None
) -> float:
    """Time of the dense benchmark on a platform over that of the pruned one on SpAtten."""
    ours = measure(benchmark, assumptions=assumptions).seconds
    return platform_cost(platform, benchmark, model).seconds / ours


def tasks() -> Table:
    """Single tasks of BERT against a TITAN Xp."""
    by_name = {(it.network.name, it.task): it for it in assumed().benchmarks}
    rows: list[Row] = []
    for said, model, depends_on, fitted_to in (
        ("launches", eager_of, "launches", ""),
        ("launches of Table IV", fitted_of, "fitted to Table IV", FITTED_TO),
    ):
        rows += [
            row_of(
                f"{network}, {task}, {said}",
                f"speedup_titan_xp_{network}_{task}".lower().replace("-", "_").replace("sst_", "sst"),
                platform_speedup("titan_xp", by_name[network, task], model),
                *OF_RUN,
                depends_on,
                "data sheet",
                fitted_to=fitted_to,
            )
            for network, task in TASKS
        ]
    order = rank_correlation([it.paper for it in rows[:6]], [it.ours for it in rows[:6]])
    note = (
        "Lengths and ratios of single tasks are not published, so only the order means something: rank correlation "
        f"with the published numbers {order:.2f} (with launches)."
    )
    return Table(title="Single tasks, speed-up over a TITAN Xp", rows=tuple(rows), note=note)


def rivals() -> Table:
    """SpAtten-1/8 against A3 and MNNFast."""
    every = assumed().benchmarks
    groups = {"30": every, "BERT's 22": tuple(it for it in every if not it.generates)}
    rows: list[Row] = []
    for key, name, rival in (("a3", "A3", a3_conservative()), ("mnnfast", "MNNFast", MnnFast())):
        for said, benchmarks in groups.items():
            speed, energy = rival_ratios(rival, benchmarks)
            mean = f"geometric mean of {said}"
            rows += [
                row_of(f"throughput over {name}, {mean}", f"speedup_{key}", speed, *OF_RUN, name, "mean"),
                row_of(
                    f"energy of {name} over ours, {mean}",
                    f"energy_{key}",
                    energy,
                    *OF_RUN,
                    name,
                    "rival energy",
                    "energy constants",
                    "mean",
                ),
            ]
    note = (
        "The paper does not say over which benchmarks. In GPT-2, A3 reads and sorts all keys of a head for one query, "
        "and MNNFast reads float32: there the gap is widest."
    )
    return Table(title="SpAtten-1/8 against other accelerators (Table III)", rows=tuple(rows), note=note)


def rival_ratios(
    rival: A3 | MnnFast, benchmarks: Iterable[Benchmark], assumptions: Assumptions | None = None
) -> tuple[float, float]:
    """Time and energy of a rival over those of SpAtten-1/8, geometric means."""
    pairs = [
        (rival_cost(rival, it), measure(it, assumptions=assumptions, architecture=eighth()))
        for it in benchmarks
    ]
    return (
        geometric_mean(cost.seconds / run.seconds for cost, run in pairs),
        geometric_mean(cost.joules / run.energy.total for cost, run in pairs),
    )
