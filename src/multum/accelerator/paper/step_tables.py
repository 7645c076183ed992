"""GPT-2-Medium while 32 tokens are generated: the dense step, the public trace, and Table IV.

Source: SpAtten (HPCA 2021), section V and Table IV; numbers by their keys in `papers/spatten.toml`.
"""

from multum.accelerator.architecture import Architecture
from multum.accelerator.fully_connected import table4
from multum.accelerator.paper.assumptions import assumed
from multum.accelerator.paper.benchmarks30 import GPT2_MEDIUM, Benchmark
from multum.accelerator.paper.measured import measure, measure_workload
from multum.accelerator.paper.opponents import bound_of, eager_of, platform_cost
from multum.accelerator.paper.rows import OF_MACHINE, OF_RUN, Table, row_of
from multum.accelerator.paper.workloads import TECHNIQUES
from multum.accelerator.rivals import titan_xp
from multum.accelerator.workload import FLOAT_BITS, Workload


def gpt2_medium_benchmark() -> Benchmark:
    """The first of its four corpora, which are all the same here."""
    return next(it for it in assumed().benchmarks if it.network == GPT2_MEDIUM)


def gpt2_medium(trace: Workload) -> Table:
    """What is published of it, in ms.

    Args:
        trace: The public trace.
    """
    benchmark, fully = gpt2_medium_benchmark(), table4()
    without_heads = tuple(it for it in TECHNIQUES if it != "heads")
    last, gpu = "wikitext2_attention_time", "table_4_gpu_attention_time"
    of_layers = ("HBM2 timings", "weights")
    found = (
        ("attention, nothing pruned, float32", "dense_step_time", measure(benchmark, ()).seconds, OF_MACHINE),
        ("attention, the public trace", last, measure_workload(trace).seconds, OF_MACHINE),
        ("attention, all techniques", last, measure(benchmark).seconds, OF_RUN),
        (
            "attention, all but head pruning",
            "table_4_attention_time",
            measure(benchmark, without_heads).seconds,
            OF_RUN,
        ),
        ("fully connected layers of the blocks", "table_4_fc_time", fully.blocks.seconds, of_layers),
        ("the same and the language-model head", "table_4_fc_time", fully.with_head.seconds, of_layers),
        (
            "attention on a TITAN Xp",
            gpu,
            platform_cost("titan_xp", benchmark, bound_of).seconds,
            ("data sheet",),
        ),
        (
            "attention on a TITAN Xp with launches",
            gpu,
            platform_cost("titan_xp", benchmark, eager_of).seconds,
            ("launches", "data sheet"),
        ),
        (
            "fully connected layers on a TITAN Xp, float32",
            "table_4_gpu_fc_time",
            fully.blocks.traffic.useful_bytes * FLOAT_BITS / 8 / titan_xp().bytes_per_second,
            ("data sheet",),
        ),
    )
    note = (
        "The public trace always reads both planes of its keys, the step before progressive quantization, so it need "
        "not take the published time. The fully connected layers of the table are taken to be those of the blocks."
    )
    return Table(
        title="GPT-2-Medium, 32 generated tokens (Table IV)",
        rows=tuple(row_of(what, key, 1e3 * seconds, *on) for what, key, seconds, on in found),
        note=note,
    )


def buses() -> Table:
    """How much of the memory's buses is used while nothing else holds it up."""
    blocks, lanes = table4().blocks, "inputs of the fetcher"
    dense = measure(gpt2_medium_benchmark(), ()).dram_efficiency
    anywhere = Architecture().address_crossbar.head_of_line_throughput
    rows = (
        row_of(
            "fully connected layers, a stream",
            "fc_dram_efficiency",
            blocks.dram_efficiency,
            "HBM2 timings",
            lanes,
            "weights",
        ),
        row_of("attention, nothing pruned, float32", "dense_step_dram_efficiency", dense, *OF_MACHINE, lanes),
    )
    note = (
        "The published ones are derived from two of the paper's times. A stream loses refreshes and nothing else. If "
        f"requests went into any input of the fetcher, the crossbar would carry {anywhere:.3f} of what the buses do, "
        f"and refreshes would cost something or nothing beside: between {anywhere * blocks.dram_efficiency:.2f} and "
        f"{anywhere:.2f}."
    )
    return Table(title="The memory's buses", rows=rows, note=note)
