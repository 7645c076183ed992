"""Linear layers over int8 weights against float32: one row, as in generation, and many, as in encoders.

Weights of the cases with one row rotate over at least 128 MiB, or the cache would be measured and not the memory. The
floor of these cases is the time to read the codes at the bandwidth that a sum over the same float32 weights reaches.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check, Results
from multum.cost import Latency
from multum.ops import fast_linear, int8_linear, measure_fma_peak, quantize_weight
from multum.ops.int8_linear.op import Activations

ROTATED_BYTES = 128 * 2**20
STOCK, ONEDNN = "stock_float32", "onednn_float32"
OURS_FLOAT, OURS_INT8 = "ours_float_activations", "ours_int8_activations"
READ_FLOAT32 = "read_float32_weights"

Weight = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Layers of one size, as many as are rotated over."""

    inputs_MI: torch.Tensor
    """Activations."""
    bias_O: torch.Tensor
    """Shared by all layers."""
    weights_OI: tuple[torch.Tensor, ...]
    """Float32 weights."""
    rounded: tuple[Weight, ...]
    """Their codes and scales."""

    def stock(self) -> list[torch.Tensor]:
        """Torch's own layer."""
        return [functional.linear(self.inputs_MI, weight, self.bias_O) for weight in self.weights_OI]

    def onednn(self) -> list[torch.Tensor]:
        """The layer through oneDNN."""
        return [fast_linear(self.inputs_MI, weight, self.bias_O) for weight in self.weights_OI]

    def ours(self, activations: Activations) -> list[torch.Tensor]:
        """The layer over int8 weights."""
        return [
            int8_linear(self.inputs_MI, code, scale, self.bias_O, activations=activations)
            for code, scale in self.rounded
        ]

    def read(self) -> list[torch.Tensor]:
        """Sum the float32 weights: a stream test over the same memory."""
        return [weight.sum() for weight in self.weights_OI]


def _prepare(setting: Setting, num_rows: int, num_inputs: int, num_outputs: int) -> Layers:
    generator = setting.generator()
    size = 4 * num_inputs * num_outputs
    num_layers = 1 if num_rows > 1 else (4 if setting.quick else -(-4 * ROTATED_BYTES // size))
    rows = min(num_rows, 256) if setting.quick else num_rows
    weights = [torch.randn(num_outputs, num_inputs, generator=generator) for _ in range(num_layers)]
    return Layers(
        inputs_MI=torch.randn(rows, num_inputs, generator=generator),
        bias_O=torch.randn(num_outputs, generator=generator),
        weights_OI=tuple(weights),
        rounded=tuple(quantize_weight(weight) for weight in weights),
    )


def _check(layers: Layers) -> Check:
    """Both kinds against the layer of the rounded weights in float64, one rounding of the inputs allowed for."""
    code, scale = (it.double() for it in layers.rounded[0])
    exact = functional.linear(layers.inputs_MI.double(), code * scale[:, None], layers.bias_O.double())
    found = int8_linear(layers.inputs_MI, *layers.rounded[0], layers.bias_O)
    check = Check.close(found, exact, allowed=1e-5 * code.shape[1] ** 0.5 * 4)
    if not check.passed:
        return check
    rounded = int8_linear(layers.inputs_MI, *layers.rounded[0], layers.bias_O, activations="int8")
    twin = int8_linear(
        layers.inputs_MI, *layers.rounded[0], layers.bias_O, activations="int8", impl="reference"
    )
    return Check.close(rounded, twin, allowed=1e-5 * code.shape[1] ** 0.5 * 4)


def _run(layers: Layers, setting: Setting) -> Mapping[str, Latency | float]:
    calls: dict[str, Callable[[], object]] = {
        STOCK: layers.stock,
        ONEDNN: layers.onednn,
        OURS_FLOAT: lambda: layers.ours("float"),
        OURS_INT8: lambda: layers.ours("int8"),
    }
    num_rows = len(layers.inputs_MI)
    num_weights = sum(weight.numel() for weight in layers.weights_OI)
    if num_rows == 1:
        calls[READ_FLOAT32] = layers.read
    with torch.inference_mode():
        times = setting.times(calls)
    readings: dict[str, Latency | float] = {**times, "num_layers": len(layers.weights_OI)}
    if num_rows == 1:
        bandwidth = 4 * num_weights / times[READ_FLOAT32].median_seconds
        readings["bytes_per_second"] = bandwidth
        readings["times_memory_floor"] = times[OURS_FLOAT].median_seconds * bandwidth / num_weights
    else:
        floor = 2 * num_rows * num_weights / measure_fma_peak().flops_per_second
        readings["float32_floor_seconds"] = floor
        readings["int8_times_float32_floor"] = times[OURS_INT8].median_seconds / floor
    return readings


def _case(name: str, num_rows: int, num_inputs: int, num_outputs: int) -> Case:
    return Case(
        name=name,
        about=f"{num_rows} x {num_inputs} -> {num_outputs}, one thread",
        prepare=lambda setting: _prepare(setting, num_rows, num_inputs, num_outputs),
        check=_check,
        run=_run,
        ours=OURS_FLOAT if num_rows == 1 else OURS_INT8,
        peers=(STOCK, ONEDNN),
    )


def _figure(name: str, case: str, peer: str, words: str) -> Figure:
    def read(results: Results) -> float:
        return results.ratio(case, peer)

    return Figure(
        id=f"ops.{name}",
        unit="x",
        peer=words,
        how="median of interleaved rounds, one thread, weights rotated over 128 MiB of codes where there is one row",
        value=read,
    )


SUITE = Suite(
    name="int8_linear",
    about="Linear layers over int8 weights against float32, one row and many",
    cases=(
        _case("one_row_576_1536", 1, 576, 1536),
        _case("one_row_768_3072", 1, 768, 3072),
        _case("many_rows_768_3072", 3072, 768, 3072),
        _case("many_rows_3072_768", 3072, 3072, 768),
    ),
    figures=(
        _figure(
            "int8_linear_one_row_576_1536_vs_stock", "one_row_576_1536", STOCK, "torch's layer in float32"
        ),
        _figure(
            "int8_linear_one_row_768_3072_vs_stock", "one_row_768_3072", STOCK, "torch's layer in float32"
        ),
        _figure("int8_linear_3072_rows_vs_stock", "many_rows_768_3072", STOCK, "torch's layer in float32"),
        _figure(
            "int8_linear_3072_rows_vs_onednn",
            "many_rows_768_3072",
            ONEDNN,
            "the layer in float32 through oneDNN",
        ),
    ),
)
