"""Sparse attention after SpAtten: one file per idea of the paper."""

from multum.attention.architectures import LAYERS_BY_MODEL_TYPE, Encoder, find_encoder
from multum.attention.command import EmbedConfig, Embedded, ShowConfig, embed_file, show_text
from multum.attention.delta import Delta, load_delta, make_delta, merge, merged, save_delta
from multum.attention.embedding import SentenceEncoder, mean_pool
from multum.attention.head_pruning import LayerHeads, SentenceHeads, head_magnitude, select_heads
from multum.attention.head_schedule import HeadSchedule, ValueSchedule
from multum.attention.language_model import LanguageModel
from multum.attention.layer_record import LayerRecord
from multum.attention.model_heads import ModelHeadRule, rule_for
from multum.attention.pruning import Pruned, prune, prune_
from multum.attention.pruning_run import PruningRun
from multum.attention.quantization_schedule import StaticQuantization
from multum.attention.recovery import RecoveryConfig, annealed_schedule
from multum.attention.recovery_command import AdaptConfig, adapt, adapted_classifier, adapted_encoder
from multum.attention.recovery_distillation import distill_embeddings
from multum.attention.recovery_labels import SentenceClassifier, tune_classifier, tune_similarity
from multum.attention.schedule import TokenSchedule, embedding_schedule, flat_schedule, linear_schedule
from multum.attention.sparse_schedule import EncoderSchedule
from multum.attention.static_quantization import quantize_static
from multum.attention.token_fate import TokenFate
from multum.attention.token_pruning import LayerTokens, SentenceTokens, kept_counts, select_tokens
from multum.attention.value_pruning import keep_largest
from multum.attention.word_fate import TextFate, WordFate, trace_words

__all__ = [
    "LAYERS_BY_MODEL_TYPE",
    "AdaptConfig",
    "Delta",
    "EmbedConfig",
    "Embedded",
    "Encoder",
    "EncoderSchedule",
    "HeadSchedule",
    "LanguageModel",
    "LayerHeads",
    "LayerRecord",
    "LayerTokens",
    "ModelHeadRule",
    "Pruned",
    "PruningRun",
    "RecoveryConfig",
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
    "distill_embeddings",
    "embed_file",
    "embedding_schedule",
    "find_encoder",
    "flat_schedule",
    "head_magnitude",
    "keep_largest",
    "kept_counts",
    "linear_schedule",
    "load_delta",
    "make_delta",
    "mean_pool",
    "merge",
    "merged",
    "prune",
    "prune_",
    "quantize_static",
    "rule_for",
    "save_delta",
    "select_heads",
    "select_tokens",
    "show_text",
    "trace_words",
    "tune_classifier",
    "tune_similarity",
]
