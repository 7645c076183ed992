"""The ruler: what a model costs in parameters, MACs, bytes and seconds, before and after."""

from multum.cost.command import CostConfig, run_cost
from multum.cost.compare import Comparison, Difference
from multum.cost.load import InputWish, Loaded, load_model
from multum.cost.mac_formulas import MacCount
from multum.cost.macs import register_macs
from multum.cost.measure import measure
from multum.cost.result import Cost, LayerCost, Mode, Moment
from multum.cost.table import rich_layers
from multum.cost.timing import Latency, interleaved_times, time_call
from multum.cost.units import format_bytes, format_count, format_joules, format_ratio, format_seconds

__all__ = [
    "Comparison",
    "Cost",
    "CostConfig",
    "Difference",
    "InputWish",
    "Latency",
    "LayerCost",
    "Loaded",
    "MacCount",
    "Mode",
    "Moment",
    "format_bytes",
    "format_count",
    "format_joules",
    "format_ratio",
    "format_seconds",
    "interleaved_times",
    "load_model",
    "measure",
    "register_macs",
    "rich_layers",
    "run_cost",
    "time_call",
]
