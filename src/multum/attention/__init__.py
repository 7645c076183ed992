"""Sparse attention after SpAtten: one file per idea of the paper."""

from multum.attention.architectures import LAYERS_BY_MODEL_TYPE, Encoder, find_encoder
from multum.attention.command import EmbedConfig, Embedded, ShowConfig, embed_file, show_text
from multum.attention.embedding import SentenceEncoder, mean_pool
from multum.attention.language_model import LanguageModel
from multum.attention.pruning import PruningRun, prune
from multum.attention.schedule import TokenSchedule, embedding_schedule, flat_schedule, linear_schedule
from multum.attention.token_pruning import LayerTokens, SentenceTokens, kept_counts, select_tokens
from multum.attention.word_fate import TextFate, WordFate, trace_words

__all__ = [
    "LAYERS_BY_MODEL_TYPE",
    "EmbedConfig",
    "Embedded",
    "Encoder",
    "LanguageModel",
    "LayerTokens",
    "PruningRun",
    "SentenceEncoder",
    "SentenceTokens",
    "ShowConfig",
    "TextFate",
    "TokenSchedule",
    "WordFate",
    "embed_file",
    "embedding_schedule",
    "find_encoder",
    "flat_schedule",
    "kept_counts",
    "linear_schedule",
    "mean_pool",
    "prune",
    "select_tokens",
    "show_text",
    "trace_words",
]
