"""Sparse attention after SpAtten: one file per idea of the paper."""

from multum.attention.adapt_config import AdaptConfig
from multum.attention.adapted import adapted_classifier, adapted_encoder
from multum.attention.architectures import LAYERS_BY_MODEL_TYPE, Encoder, find_encoder
from multum.attention.budget import schedule_for_cache_bytes, schedule_for_macs
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.command import EmbedConfig, Embedded, ShowConfig, embed_file, show_text
from multum.attention.defaults import default_schedule
from multum.attention.delta import Delta, load_delta, make_delta, merge, merged, save_delta
from multum.attention.embedding import SentenceEncoder, mean_pool
from multum.attention.evaluate_command import EvaluateConfig, Evaluated, evaluate
from multum.attention.generate_command import GenerateConfig, Generated, generate_text
from multum.attention.head_pruning import LayerHeads, SentenceHeads, head_magnitude, select_heads
from multum.attention.head_schedule import HeadSchedule, ValueSchedule
from multum.attention.language_model import LanguageModel
from multum.attention.layer_record import LayerRecord
from multum.attention.length_adaptive import LengthAdaptive
from multum.attention.model_facts import ModelFacts, model_facts
from multum.attention.model_heads import ModelHeadRule, rule_for
from multum.attention.on_accelerator import AcceleratorReading, OnAccelerator, on_accelerator
from multum.attention.planned import planned_records
from multum.attention.priced import cost_of
from multum.attention.pruning import Pruned, prune, prune_
from multum.attention.pruning_run import PruningRun
from multum.attention.quantization_schedule import ProgressiveQuantization, StaticQuantization
from multum.attention.recovery import RecoveryConfig, annealed_schedule
from multum.attention.recovery_command import adapt
from multum.attention.recovery_distillation import distill_embeddings
from multum.attention.recovery_labels import SentenceClassifier, tune_classifier, tune_similarity
from multum.attention.run_command import Ran, RunConfig, run_model
from multum.attention.schedule import TokenSchedule, embedding_schedule, flat_schedule, linear_schedule
from multum.attention.schedule_rules import (
    classifier_schedule,
    flat_values,
    linear_cache,
    linear_heads,
    token_level_schedule,
)
from multum.attention.schedule_wish import read_schedule
from multum.attention.sparse_schedule import (
    EncoderSchedule,
    GenerationSchedule,
    PrunableSchedule,
    load_schedule,
    save_schedule,
)
from multum.attention.static_quantization import quantize_static
from multum.attention.token_absence import rank_by_absence
from multum.attention.token_fate import TokenFate
from multum.attention.token_pruning import LayerTokens, SentenceTokens, kept_counts, select_tokens
from multum.attention.trace_schedule import gpt2_medium_trace_schedule
from multum.attention.value_pruning import keep_largest
from multum.attention.word_fate import TextFate, WordFate, trace_words
from multum.attention.word_worth import count_common_tokens
from multum.attention.workload import workload_of, workload_of_schedule

__all__ = [
    "LAYERS_BY_MODEL_TYPE",
    "AcceleratorReading",
    "AdaptConfig",
    "CacheSchedule",
    "Delta",
    "EmbedConfig",
    "Embedded",
    "Encoder",
    "EncoderSchedule",
    "EvaluateConfig",
    "Evaluated",
    "GenerateConfig",
    "Generated",
    "GenerationSchedule",
    "HeadSchedule",
    "LanguageModel",
    "LayerHeads",
    "LayerRecord",
    "LayerTokens",
    "LengthAdaptive",
    "ModelFacts",
    "ModelHeadRule",
    "OnAccelerator",
    "ProgressiveQuantization",
    "PrunableSchedule",
    "Pruned",
    "PruningRun",
    "Ran",
    "RecoveryConfig",
    "RunConfig",
    "SentenceClassifier",
    "SentenceEncoder",
    "SentenceHeads",
    "SentenceTokens",
    "ShowConfig",
    "StaticQuantization",
    "TextFate",
    "TokenFate",
    "TokenSchedule",
    "ValueSchedule",
    "WordFate",
    "adapt",
    "adapted_classifier",
    "adapted_encoder",
    "annealed_schedule",
    "classifier_schedule",
    "cost_of",
    "count_common_tokens",
    "default_schedule",
    "distill_embeddings",
    "embed_file",
    "embedding_schedule",
    "evaluate",
    "find_encoder",
    "flat_schedule",
    "flat_values",
    "generate_text",
    "gpt2_medium_trace_schedule",
    "head_magnitude",
    "keep_largest",
    "kept_counts",
    "linear_cache",
    "linear_heads",
    "linear_schedule",
    "load_delta",
    "load_schedule",
    "make_delta",
    "mean_pool",
    "merge",
    "merged",
    "model_facts",
    "on_accelerator",
    "planned_records",
    "prune",
    "prune_",
    "quantize_static",
    "rank_by_absence",
    "read_schedule",
    "rule_for",
    "run_model",
    "save_delta",
    "save_schedule",
    "schedule_for_cache_bytes",
    "schedule_for_macs",
    "select_heads",
    "select_tokens",
    "show_text",
    "token_level_schedule",
    "trace_words",
    "tune_classifier",
    "tune_similarity",
    "workload_of",
    "workload_of_schedule",
]
