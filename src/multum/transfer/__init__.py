"""Transfer learning in little memory: what backward keeps, which parameters train, and what all of it costs."""

from multum.transfer.add_classes_command import AddClassesConfig, add_classes
from multum.transfer.add_classes_result import AddClassesResult, Learned
from multum.transfer.budget import facts_of
from multum.transfer.delta import Delta, DeltaHeader, load_delta, save_delta, take_delta, write_delta
from multum.transfer.delta_apply import apply_delta
from multum.transfer.delta_command import DeltaConfig, DeltaCopy, DeltaFacts, TensorKind, show_delta
from multum.transfer.delta_precision import PRECISIONS, Precision
from multum.transfer.delta_switch import TaskSwitch
from multum.transfer.evaluate_command import EvaluateTransferConfig, evaluate_transfer
from multum.transfer.export import Exported, export_model
from multum.transfer.export_command import (
    ExportConfig,
    ExportResult,
    MergeConfig,
    MergeResult,
    export_transfer,
    merge_transfer,
)
from multum.transfer.fused_step import FusedStep
from multum.transfer.group_norm import GroupNormReport, WeightStandardizedConv2d, to_group_norm
from multum.transfer.int8_backbone import Int8Conv2d, Int8Linear, Int8Report, to_float, to_int8
from multum.transfer.lean import LeanReport, lean, make_lean, make_stock
from multum.transfer.lean_gelu import GeluKeeps, LeanGELU, gelu_to_8bit
from multum.transfer.lean_norms import LeanGroupNorm, LeanLayerNorm, gradient_error
from multum.transfer.lite_residual import LitePlace, LiteResidual, WithLite, attach_lite, find_places
from multum.transfer.lite_start import LiteStart, start_lite
from multum.transfer.lite_weights import LiteWeights, load_lite_weights, save_lite_weights, start_from
from multum.transfer.lora import LoRALinear, attach_lora, merge_lora
from multum.transfer.merge import merge, remaining_norms
from multum.transfer.modes import MODES, Adapted, Mode, adapt, replace_classifier, set_trained
from multum.transfer.norm_functions import KEEPS, Keeps
from multum.transfer.paper_ledger import LayerCharge, PaperLedger, paper_ledger, paper_network
from multum.transfer.plan import DataFacts, Plan, plan
from multum.transfer.predict_command import PredictConfig, Prediction, Predictions, predict_transfer
from multum.transfer.pretrain_lite_command import PretrainLiteConfig, PretrainLiteResult, pretrain_lite
from multum.transfer.recomputation import recompute_blocks
from multum.transfer.step_growth import TrainingStep, step_growth, training_step
from multum.transfer.step_memory import StepMemory, step_memory
from multum.transfer.step_time import MachineSpeed, measure_speed, step_seconds
from multum.transfer.streaming_classifier import FeatureStatistics
from multum.transfer.train_command import train_transfer
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_result import Judgement, Mistake, TransferResult
from multum.transfer.trained_depth import block_paths, freeze_below
from multum.transfer.trained_run import TrainedNetwork, TrainedRun, load_trained, read_trained
from multum.transfer.transformer_delta import (
    TransformerHeader,
    load_transformer_delta,
    save_transformer_delta,
)
from multum.transfer.transformer_modes import (
    TRANSFORMER_MODES,
    AdaptedTransformer,
    TransformerMode,
    adapt_transformer,
    set_trained_transformer,
)

__all__ = [
    "KEEPS",
    "MODES",
    "PRECISIONS",
    "TRANSFORMER_MODES",
    "Adapted",
    "AdaptedTransformer",
    "AddClassesConfig",
    "AddClassesResult",
    "DataFacts",
    "Delta",
    "DeltaConfig",
    "DeltaCopy",
    "DeltaFacts",
    "DeltaHeader",
    "EvaluateTransferConfig",
    "ExportConfig",
    "ExportResult",
    "Exported",
    "FeatureStatistics",
    "FusedStep",
    "GeluKeeps",
    "GroupNormReport",
    "Int8Conv2d",
    "Int8Linear",
    "Int8Report",
    "Judgement",
    "Keeps",
    "LayerCharge",
    "LeanGELU",
    "LeanGroupNorm",
    "LeanLayerNorm",
    "LeanReport",
    "Learned",
    "LitePlace",
    "LiteResidual",
    "LiteStart",
    "LiteWeights",
    "LoRALinear",
    "MachineSpeed",
    "MergeConfig",
    "MergeResult",
    "Mistake",
    "Mode",
    "PaperLedger",
    "Plan",
    "Precision",
    "PredictConfig",
    "Prediction",
    "Predictions",
    "PretrainLiteConfig",
    "PretrainLiteResult",
    "StepMemory",
    "TaskSwitch",
    "TensorKind",
    "TrainedNetwork",
    "TrainedRun",
    "TrainingStep",
    "TransferConfig",
    "TransferResult",
    "TransformerHeader",
    "TransformerMode",
    "WeightStandardizedConv2d",
    "WithLite",
    "adapt",
    "adapt_transformer",
    "add_classes",
    "apply_delta",
    "attach_lite",
    "attach_lora",
    "block_paths",
    "evaluate_transfer",
    "export_model",
    "export_transfer",
    "facts_of",
    "find_places",
    "freeze_below",
    "gelu_to_8bit",
    "gradient_error",
    "lean",
    "load_delta",
    "load_lite_weights",
    "load_trained",
    "load_transformer_delta",
    "make_lean",
    "make_stock",
    "measure_speed",
    "merge",
    "merge_lora",
    "merge_transfer",
    "paper_ledger",
    "paper_network",
    "plan",
    "predict_transfer",
    "pretrain_lite",
    "read_trained",
    "recompute_blocks",
    "remaining_norms",
    "replace_classifier",
    "save_delta",
    "save_lite_weights",
    "save_transformer_delta",
    "set_trained",
    "set_trained_transformer",
    "show_delta",
    "start_from",
    "start_lite",
    "step_growth",
    "step_memory",
    "step_seconds",
    "take_delta",
    "to_float",
    "to_group_norm",
    "to_int8",
    "train_transfer",
    "training_step",
    "write_delta",
]
