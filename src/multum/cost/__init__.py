"""The ruler: what a model costs in parameters, MACs, bytes and seconds, before and after."""

from multum.cost.compare import Comparison, Difference
from multum.cost.mac_formulas import MacCount
from multum.cost.macs import register_macs
from multum.cost.measure import measure
from multum.cost.result import Cost, LayerCost, Mode, Moment
from multum.cost.timing import Latency, interleaved_times, time_call
from multum.cost.units import format_bytes, format_count, format_joules, format_ratio, format_seconds

__all__ = [
    "Comparison",
    "Cost",
    "Difference",
    "Latency",
    "LayerCost",
    "MacCount",
    "Mode",
    "Moment",
    "format_bytes",
    "format_count",
    "format_joules",
    "format_ratio",
    "format_seconds",
    "interleaved_times",
    "measure",
    "register_macs",
    "time_call",
]
