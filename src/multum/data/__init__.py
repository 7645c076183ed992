"""Readers and bundled samples: passages with queries, sentence pairs, STS-B, and a user's own text."""

from multum.data.models import MINILM_REQUIREMENT, SMOLLM2_REQUIREMENT, minilm_folder, smollm2_file
from multum.data.pairs import MAX_SCORE, SentencePair, load_sentence_pairs
from multum.data.passages import PROVENANCE, Passage, load_passages
from multum.data.stsb import STSB_NUM_PAIRS, STSB_SOURCE, Split, read_stsb
from multum.data.text_files import read_lines

__all__ = [
    "MAX_SCORE",
    "MINILM_REQUIREMENT",
    "PROVENANCE",
    "SMOLLM2_REQUIREMENT",
    "STSB_NUM_PAIRS",
    "STSB_SOURCE",
    "Passage",
    "SentencePair",
    "Split",
    "load_passages",
    "load_sentence_pairs",
    "minilm_folder",
    "read_lines",
    "read_stsb",
    "smollm2_file",
]
