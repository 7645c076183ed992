"""Transfer learning in little memory: what backward keeps, which parameters train, and what all of it costs."""

from multum.transfer.delta import Delta, DeltaHeader, load_delta, save_delta, take_delta
from multum.transfer.delta_apply import apply_delta
from multum.transfer.delta_switch import TaskSwitch
from multum.transfer.evaluate_command import EvaluateTransferConfig, evaluate_transfer
from multum.transfer.export import Exported, export_model
from multum.transfer.group_norm import GroupNormReport, WeightStandardizedConv2d, to_group_norm
from multum.transfer.int8_backbone import Int8Conv2d, Int8Linear, Int8Report, to_float, to_int8
from multum.transfer.lean import LeanReport, lean, make_lean, make_stock
from multum.transfer.lean_norms import LeanGroupNorm, LeanLayerNorm, gradient_error
from multum.transfer.lite_residual import LitePlace, LiteResidual, WithLite, attach_lite, find_places
from multum.transfer.merge import merge, remaining_norms
from multum.transfer.modes import MODES, Adapted, Mode, adapt, replace_classifier, set_trained
from multum.transfer.norm_functions import KEEPS, Keeps
from multum.transfer.paper_ledger import LayerCharge, PaperLedger, paper_ledger, paper_network
from multum.transfer.train_command import train_transfer
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_result import Judgement, Mistake, TransferResult

__all__ = [
    "KEEPS",
    "MODES",
    "Adapted",
    "Delta",
    "DeltaHeader",
    "EvaluateTransferConfig",
    "Exported",
    "GroupNormReport",
    "Int8Conv2d",
    "Int8Linear",
    "Int8Report",
    "Judgement",
    "Keeps",
    "LayerCharge",
    "LeanGroupNorm",
    "LeanLayerNorm",
    "LeanReport",
    "LitePlace",
    "LiteResidual",
    "Mistake",
    "Mode",
    "PaperLedger",
    "TaskSwitch",
    "TransferConfig",
    "TransferResult",
    "WeightStandardizedConv2d",
    "WithLite",
    "adapt",
    "apply_delta",
    "attach_lite",
    "evaluate_transfer",
    "export_model",
    "find_places",
    "gradient_error",
    "lean",
    "load_delta",
    "make_lean",
    "make_stock",
    "merge",
    "paper_ledger",
    "paper_network",
    "remaining_norms",
    "replace_classifier",
    "save_delta",
    "set_trained",
    "take_delta",
    "to_float",
    "to_group_norm",
    "to_int8",
    "train_transfer",
]
